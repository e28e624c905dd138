/*
fact = "stays per status equal the ended stays in silver.order_status_history, excluded orders left out"
*/
with expected as (
    select h.status_id, count(h.until) as stays
    from silver.order_status_history as h
    anti join silver.excluded_orders as x on x.id = h.order_id
    group by h.status_id
    having count(h.until) > 0
),

found as (
    select status_id, sum(stays_count) as stays
    from gold.order_status_times
    group by status_id
)

select
    coalesce(e.status_id, f.status_id) as status_id,
    e.stays as expected,
    f.stays as found,
from expected as e
full join found as f on f.status_id = e.status_id
where e.stays is distinct from f.stays
