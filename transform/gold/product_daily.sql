/*
grain   = "one row per shop day and product sold; returns excluded"
key     = ["date", "product_id", "product_name", "category_id", "brand"]
rebuild = "by month"
month   = "date"
money   = "revenue"

[columns]
date         = "DATE"           # shop day of the orders (Europe/Kyiv)
product_id   = "BIGINT?"        # null if the line is one-off goods
product_name = "VARCHAR?"       # name in the catalogue, or at the sale if the product is not in it; null if neither
category_id  = "BIGINT?"        # category of today; null if the product has none or is not in the catalogue
brand        = "VARCHAR?"       # brand of today; null if the product has none or is not in the catalogue
quantity     = "DECIMAL(18,3)"  # pieces sold; adds up over days and products
revenue      = "DECIMAL(18,2)"  # money of the lines, without order discounts and delivery; adds up over days and products
*/
select
    l.order_date as date,
    l.product_id,
    coalesce(p.name, l.sold_name) as product_name,
    p.category_id,
    p.brand,
    sum(l.quantity)::decimal(18, 3) as quantity,
    sum(l.price::decimal(38, 4) * l.quantity)::decimal(18, 2) as revenue,
from silver.order_lines as l
left join silver.products as p on p.id = l.product_id
where not l.is_return
group by all
