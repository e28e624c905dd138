/*
fact = "the categories of a day add up to its products"
*/
with categories as (
    select date, sum(revenue) as revenue, sum(quantity) as quantity
    from gold.category_daily
    group by date
),

products as (
    select date, sum(revenue) as revenue, sum(quantity) as quantity
    from gold.product_daily
    group by date
)

select
    coalesce(c.date, p.date) as date,
    c.revenue as by_category,
    p.revenue as by_product,
from categories as c
full join products as p on p.date = c.date
where
    c.revenue is distinct from p.revenue
    or c.quantity is distinct from p.quantity
