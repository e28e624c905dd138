select
    source_id,
    max_by(source_name, {'date': date, 'name': source_name}) as source_name,
    sum(revenue) as revenue,
    sum(orders_count)::bigint as orders_count
from gold.source_daily
where date between $first and $last
group by source_id
order by sum(revenue) desc, source_id
