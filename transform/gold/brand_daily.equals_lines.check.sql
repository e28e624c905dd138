/*
fact = "quantity and revenue per day and brand equal the lines sold, with no row missing or extra"
*/
with expected as (
    select
        l.order_date as date,
        p.brand,
        sum(l.quantity) as quantity,
        sum(l.total) as revenue,
        count(*) as lines,
    from silver.order_lines as l
    join silver.orders as o on o.id = l.order_id
    left join silver.products as p on p.id = l.product_id
    where not o.is_return
    group by l.order_date, p.brand
)

select
    coalesce(e.date, g.date) as date,
    coalesce(e.brand, g.brand) as brand,
    e.revenue as expected,
    g.revenue as found,
from expected as e
full join gold.brand_daily as g on g.date = e.date and g.brand is not distinct from e.brand
where
    e.quantity is distinct from g.quantity
    -- Tolerance: each line is rounded once, each product once a day.
    or (abs(e.revenue - g.revenue) <= 0.01 * e.lines) is not true
