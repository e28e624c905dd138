select
    coalesce(sum(revenue), 0) as revenue,
    coalesce(sum(orders_count), 0)::bigint as orders_count
from gold.revenue_daily
where date between $first and $last
