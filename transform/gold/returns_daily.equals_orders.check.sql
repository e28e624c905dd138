/*
fact = "returns and orders per day and type equal silver.orders, with no row missing or extra, and return_rate follows"
*/
with expected as (
    select
        order_date as date,
        sales_type,
        sum(is_return::int) as returns_count,
        sum(grand_total * is_return::int) as returns_amount,
        count(id) as orders_count,
    from silver.orders
    group by order_date, sales_type
)

select
    coalesce(e.date, g.date) as date,
    coalesce(e.sales_type, g.sales_type) as sales_type,
    e.returns_amount as expected,
    g.returns_amount as found,
from expected as e
full join gold.returns_daily as g on g.date = e.date and g.sales_type = e.sales_type
where
    e.returns_count is distinct from g.returns_count
    or e.returns_amount is distinct from g.returns_amount
    or e.orders_count is distinct from g.orders_count
    or (abs(g.return_rate * e.orders_count - e.returns_count) <= 0.00005 * e.orders_count) is not true
