/*
fact = "the cohorts of an order month add up to the known buyers in gold.customer_daily, with no month missing or extra"
*/
with cohorts as (
    select
        (first_month + to_months(months_since::int))::date as order_month,
        sum(orders_count) as orders_count,
        sum(revenue) as revenue,
    from gold.customer_cohorts
    group by all
),

days as (
    select
        date_trunc('month', date)::date as order_month,
        sum(orders_count) as orders_count,
        sum(revenue) as revenue,
    from gold.customer_daily
    where buyer_type <> 'unknown'
    group by all
)

select
    coalesce(d.order_month, c.order_month) as order_month,
    d.revenue as expected,
    c.revenue as found,
from days as d
full join cohorts as c on c.order_month = d.order_month
where
    d.orders_count is distinct from c.orders_count
    or d.revenue is distinct from c.revenue
