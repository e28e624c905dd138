/*
fact = "quantity and revenue per day equal the lines sold, with no day missing or extra"
*/
with expected as (
    select
        l.order_date as date,
        sum(l.quantity) as quantity,
        sum(l.total) as revenue,
        count(*) as lines,
    from silver.order_lines as l
    where l.order_id in (select id from silver.orders where not is_return)
    group by all
),

found as (
    select
        date,
        sum(quantity) as quantity,
        sum(revenue) as revenue,
        count(*) as products,
    from gold.product_daily
    group by all
)

select
    coalesce(e.date, f.date) as date,
    e.revenue as expected,
    f.revenue as found,
from expected as e
full join found as f on f.date = e.date
where
    e.quantity is distinct from f.quantity
    -- Tolerance: each line and each product is rounded once to the kopeck, which matters only if a quantity is fractional.
    or coalesce(abs(e.revenue - f.revenue) > 0.005 * (e.lines + f.products), true)
