-- Number and total of the returns of the day $day, of one sales type or, if $sales_type is null, of all.
select count(*) as count, coalesce(sum(grand_total), 0)::decimal(38, 2) as amount
from silver.orders
where order_date = $day and is_return and ($sales_type is null or sales_type = $sales_type)
