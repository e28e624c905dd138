/*
fact = "the new buyers of a day are those without an earlier purchase at any source, with no day missing or extra"
looks = "everywhere"
*/
with purchases as (
    select buyer_id, order_date as date, true as is_counted
    from silver.orders
    where is_return is false
    union all
    select buyer_id, order_date, false
    from silver.excluded_orders
    where is_return is false
),

firsts as (
    select
        buyer_id,
        min(date) as date,
        min(date) filter (is_counted) as counted_date,
    from purchases
    where buyer_id is not null
    group by buyer_id
),

expected as (
    -- If a buyer's first purchase was at an excluded source on an earlier day, the buyer is never new.
    select date, count(*) as buyers
    from firsts
    where date = counted_date
    group by date
),

found as (
    select date, sum(buyers_count) as buyers, count(*) as types
    from gold.customer_daily
    where buyer_type = 'new'
    group by date
)

select
    coalesce(e.date, f.date) as date,
    e.buyers as expected,
    f.buyers as found,
from expected as e
full join found as f on f.date = e.date
where
    e.buyers is null
    or f.buyers is null
    -- A buyer with two sales types on the first day counts in both.
    or not f.buyers between e.buyers and e.buyers * f.types
