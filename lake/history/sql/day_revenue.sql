-- Revenue and orders of the day $day in gold, of one sales type or, if $sales_type is null, of all.
select
    coalesce(sum(revenue), 0)::decimal(38, 2) as revenue,
    coalesce(sum(orders_count), 0)::bigint as orders_count,
from gold.revenue_daily
where date = $day and ($sales_type is null or sales_type = $sales_type)
