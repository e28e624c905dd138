/*
fact = "every order with a positive total has lines if its payload lists products"
*/
with without_lines as materialized (
    select o.id, o.grand_total, o.observed_at
    from silver.orders as o
    anti join silver.order_lines as l on l.order_id = o.id
    where o.grand_total > 0
)

select o.id as order_id, o.grand_total as amount
from without_lines as o
join bronze.orders as b on b.id = o.id and b.fetched_at = o.observed_at
where coalesce(json_array_length(b.payload, '$.products'), 0) > 0
