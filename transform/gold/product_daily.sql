/*
grain   = "one row per shop day and product sold; returns are left out"
key     = ["date", "product_id", "product_name", "category_id", "brand"]
rebuild = "by month"
month   = "date"
money   = "revenue"

[columns]
date         = "DATE"
product_id   = "BIGINT?"               # null: one-off goods
product_name = "VARCHAR?"              # the catalogue's; what it was sold as where the product is unknown
category_id  = "BIGINT?"
brand        = "VARCHAR?"
quantity     = "DECIMAL(18,3)"         # adds up over days
revenue      = "DECIMAL(18,2)"         # of the lines, without an order's own discount and delivery; adds up
*/
select
    l.order_date as date,
    l.product_id,
    coalesce(p.name, l.sold_name) as product_name,
    p.category_id,
    p.brand,
    sum(l.quantity)::decimal(18, 3) as quantity,
    sum(l.price * l.quantity)::decimal(18, 2) as revenue,
from silver.order_lines as l
left join silver.products as p on p.id = l.product_id
where not l.is_return
group by all
