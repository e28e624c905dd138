/*
grain   = "one row per month of the first purchase and number of months since; returns excluded"
key     = ["first_month", "months_since"]
rebuild = "whole"

# The first purchase may be at any source, included or excluded. Orders and revenue are of included sources only.
# If no buyer of a cohort ordered in a month, that month has no row.
[columns]
first_month   = "DATE"           # first day of the month of the first purchase
months_since  = "BIGINT"         # calendar months since first_month; 0 is first_month itself
cohort_buyers = "BIGINT"         # number of buyers whose first purchase was in first_month; the same in all its rows
buyers_count  = "BIGINT"         # number of these buyers who ordered in this month; adds up over cohorts, not over months
orders_count  = "BIGINT"         # number of their orders in this month; adds up over cohorts and months
revenue       = "DECIMAL(18,2)"  # money, sum of grand_total of these orders; adds up over cohorts and months

[checks]
months_go_forward    = "months_since >= 0"
buyers_are_of_cohort = "buyers_count between 1 and least(cohort_buyers, orders_count)"
*/
with buyers as (
    select
        buyer_id,
        date_trunc('month', first_order_date)::date as first_month,
    from silver.customers
),

cohorts as (
    select
        first_month,
        count(*) as cohort_buyers,
    from buyers
    group by first_month
),

months as (
    select
        b.first_month,
        date_diff('month', b.first_month, o.order_date) as months_since,
        count(distinct o.buyer_id) as buyers_count,
        count(*) as orders_count,
        sum(o.grand_total)::decimal(18, 2) as revenue,
    from silver.orders as o
    join buyers as b on b.buyer_id = o.buyer_id
    where not o.is_return
    group by all
)

select
    m.first_month,
    m.months_since,
    c.cohort_buyers,
    m.buyers_count,
    m.orders_count,
    m.revenue,
from months as m
join cohorts as c on c.first_month = m.first_month
