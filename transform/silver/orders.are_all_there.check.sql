/*
fact = "every order in bronze that is not deleted, set aside or of an excluded source is in silver.orders, and no other"
*/
with last_look as (
    select id, max(fetched_at) as fetched_at
    from bronze.orders
    group by id
),

expected as (
    select o.id
    from bronze.orders as o
    semi join last_look as l on l.id = o.id and l.fetched_at = o.fetched_at
    where
        not o.is_deleted
        and not exists (from rules.excluded_sources as x where x.source_id = o.source_id)
        and not exists (from silver.set_aside_orders as a where a.order_id = o.id)
)

select coalesce(e.id, o.id) as id
from expected as e
full join silver.orders as o on o.id = e.id
where e.id is null or o.id is null
