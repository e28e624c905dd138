select
    count(distinct {'id': product_id, 'name': case when product_id is null then product_name end})::bigint as products,
    coalesce(sum(quantity), 0) as quantity,
    coalesce(sum(revenue), 0) as revenue
from gold.product_daily
where date between $first and $last
