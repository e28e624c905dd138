/*
fact = "revenue, orders and discounts per day and promocode equal silver.orders, with no row missing or extra"
*/
with expected as (
    select
        order_date as date,
        promocode,
        sum(if(is_return, 0, grand_total)) as revenue,
        sum(if(is_return, 0, coalesce(total_discount, 0))) as discount,
        count_if(not is_return) as orders_count,
    from silver.orders
    group by order_date, promocode
    having count_if(not is_return) > 0
)

select
    coalesce(e.date, g.date) as date,
    coalesce(e.promocode, g.promocode) as promocode,
    e.revenue as expected,
    g.revenue as found,
from expected as e
full join gold.promocode_daily as g on g.date = e.date and g.promocode is not distinct from e.promocode
where
    e.revenue is distinct from g.revenue
    or e.discount is distinct from g.discount
    or e.orders_count is distinct from g.orders_count
