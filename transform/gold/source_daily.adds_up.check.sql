/*
fact = "the sources of a day add up to its sales types"
*/
select
    coalesce(s.date, r.date) as date,
    s.revenue as by_source,
    r.revenue as by_sales_type,
from (select date, sum(revenue) as revenue, sum(orders_count) as orders from gold.source_daily group by all) as s
full join (select date, sum(revenue) as revenue, sum(orders_count) as orders from gold.revenue_daily group by all) as r
    on r.date = s.date
where
    s.revenue is distinct from r.revenue
    or s.orders is distinct from r.orders
