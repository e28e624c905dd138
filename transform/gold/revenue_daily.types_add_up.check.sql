/*
fact = "the sales types of a day add up to all its orders without returns"
*/
with every as (
    select
        order_date as date,
        sum(grand_total) - coalesce(sum(grand_total) filter (is_return), 0) as revenue,
        count(*) - count_if(is_return) as orders_count,
    from silver.orders
    group by order_date
),

types as (
    select
        date,
        sum(revenue) as revenue,
        sum(orders_count) as orders_count,
    from gold.revenue_daily
    group by date
)

select
    coalesce(e.date, t.date) as date,
    e.revenue as every,
    t.revenue as by_sales_type,
from every as e
full join types as t on t.date = e.date
where
    coalesce(e.revenue, 0) is distinct from coalesce(t.revenue, 0)
    or coalesce(e.orders_count, 0) is distinct from coalesce(t.orders_count, 0)
