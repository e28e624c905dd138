select
    coalesce(sum(returns_count), 0)::bigint as returns_count,
    coalesce(sum(returns_amount), 0) as returns_amount,
    coalesce(sum(orders_count), 0)::bigint as orders_count
from gold.returns_daily
where date between $first and $last
