/*
fact = "the total hours do not exceed the time from first to last observation plus that from first to last timestamp"
*/
with orders as (
    select
        h.order_id,
        date_diff('second', min(h.since), max(h.until)) as looked_at,
        coalesce(date_diff('second', min(h.changed_at), max(h.changed_at)), 0) as stamped,
    from silver.order_status_history as h
    anti join silver.excluded_orders as x on x.id = h.order_id
    group by h.order_id
    having max(h.until) is not null
),

bounds as (
    select
        coalesce(sum(looked_at + stamped), 0) / 3600 as most,
        count(*) as orders,
    from orders
),

found as (
    select coalesce(sum(hours), 0) as hours
    from gold.order_status_times
)

select most, hours
from bounds
cross join found
where (hours <= most + 0.001 * (orders + 1)) is not true
