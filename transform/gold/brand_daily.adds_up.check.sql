/*
fact = "the brands of a day add up to its products"
*/
with brands as (
    select date, sum(revenue) as revenue, sum(quantity) as quantity
    from gold.brand_daily
    group by date
),

products as (
    select date, sum(revenue) as revenue, sum(quantity) as quantity
    from gold.product_daily
    group by date
)

select
    coalesce(b.date, p.date) as date,
    b.revenue as by_brand,
    p.revenue as by_product,
from brands as b
full join products as p on p.date = b.date
where
    b.revenue is distinct from p.revenue
    or b.quantity is distinct from p.quantity
