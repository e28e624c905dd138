/*
fact = "the hours of the stays that end differ from the time between the looks by no more than the CRM's own stamps allow"
*/
with looks as (
    select
        h.order_id,
        min(h.since) as since,
        max(h.until) as until,
        min(h.changed_at) as changed_at,
    from silver.order_status_history as h
    anti join silver.excluded_orders as x on x.id = h.order_id
    where h.until is not null
    group by h.order_id
),

bounds as (
    select
        coalesce(sum(date_diff('second', least(since, coalesce(changed_at, since)), until)), 0) / 3600 as most,
        count(*) as orders,
    from looks
),

found as (
    select coalesce(sum(hours), 0) as hours
    from gold.order_status_times
)

select most, hours
from bounds
cross join found
where (hours <= most + 0.001 * (orders + 1)) is not true
