/*
fact = "revenue and orders per day and type equal silver.orders, with no row missing or extra"
*/
with expected as (
    select
        order_date as date,
        sales_type,
        sum(case when is_return then 0 else grand_total end) as revenue,
        count_if(not is_return) as orders_count,
    from silver.orders
    group by all
    having count_if(not is_return) > 0
)

select
    coalesce(e.date, g.date) as date,
    coalesce(e.sales_type, g.sales_type) as sales_type,
    e.revenue as expected,
    g.revenue as found,
from expected as e
full join gold.revenue_daily as g on g.date = e.date and g.sales_type = e.sales_type
where
    e.revenue is distinct from g.revenue
    or e.orders_count is distinct from g.orders_count
