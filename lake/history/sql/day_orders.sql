-- The orders of the day $day that are not returns, of one sales type or, if $sales_type is null, of all.
select
    id as order_id,
    sales_type,
    grand_total as revenue,
    source_name,
    manager_name,
    concat_ws(' ', status_id, status_name) as status,
    ordered_at,
from silver.orders
where order_date = $day and not is_return and ($sales_type is null or sales_type = $sales_type)
order by sales_type, order_id
