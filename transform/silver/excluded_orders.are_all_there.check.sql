/*
fact = "every order that is not deleted is in one of silver.orders, silver.excluded_orders and silver.set_aside_orders, exactly once"
*/
with alive as (
    select id
    from bronze.orders
    group by id
    having not arg_max(is_deleted, fetched_at)
),

found as (
    select id from silver.orders
    union all
    select id from silver.excluded_orders
    union all
    select order_id from silver.set_aside_orders
)

select
    id,
    count(*) filter (is_held) as times,
from (select id, true as is_held from found union all select id, false from alive)
group by id
having count(*) filter (is_held) <> 1 or count(*) filter (not is_held) <> 1
