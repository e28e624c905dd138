select
    date,
    sales_type,
    revenue,
    orders_count,
    avg_check
from gold.revenue_daily
where
    date between $first and $last
    and (len($sales_types::varchar[]) = 0 or list_contains($sales_types::varchar[], sales_type))
order by date, sales_type
