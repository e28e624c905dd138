/*
fact = "revenue and orders per day and manager equal silver.orders, with no row missing or extra"
*/
with expected as (
    select
        order_date as date,
        manager_id,
        sum(if(is_return, 0, grand_total)) as revenue,
        count_if(not is_return) as orders_count,
    from silver.orders
    group by order_date, manager_id
    having count_if(not is_return) > 0
)

select
    coalesce(e.date, g.date) as date,
    coalesce(e.manager_id, g.manager_id) as manager_id,
    e.revenue as expected,
    g.revenue as found,
from expected as e
full join gold.manager_daily as g on g.date = e.date and g.manager_id is not distinct from e.manager_id
where
    e.revenue is distinct from g.revenue
    or e.orders_count is distinct from g.orders_count
