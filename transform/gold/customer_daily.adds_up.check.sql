/*
fact = "the buyer types of a day and sales type add up to gold.revenue_daily, with no row missing or extra"
*/
with kinds as (
    select date, sales_type, sum(revenue) as revenue, sum(orders_count) as orders_count
    from gold.customer_daily
    group by date, sales_type
)

select
    coalesce(k.date, r.date) as date,
    coalesce(k.sales_type, r.sales_type) as sales_type,
    r.revenue as expected,
    k.revenue as found,
from kinds as k
full join gold.revenue_daily as r on r.date = k.date and r.sales_type = k.sales_type
where
    k.revenue is distinct from r.revenue
    or k.orders_count is distinct from r.orders_count
