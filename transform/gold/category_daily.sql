/*
grain   = "one row per shop day and category of the products sold; returns are left out"
key     = ["date", "category_id"]
rebuild = "by month"
month   = "date"
money   = "revenue"

# The sums of gold.product_daily by the category that each product has today; all categories together are it.
[columns]
date          = "DATE"
category_id   = "BIGINT?"              # null: no category, a product no longer known, one-off goods
category_name = "VARCHAR?"
parent_id     = "BIGINT?"              # null: the category is a root, or there is none
parent_name   = "VARCHAR?"
quantity      = "DECIMAL(18,3)"        # adds up over days and categories; a parent's is its own and its children's
revenue       = "DECIMAL(18,2)"        # adds up as quantity does
*/
select
    p.date,
    p.category_id,
    c.name as category_name,
    c.parent_id,
    c.parent_name,
    sum(p.quantity)::decimal(18, 3) as quantity,
    sum(p.revenue)::decimal(18, 2) as revenue,
from gold.product_daily as p
left join silver.categories as c on c.id = p.category_id
group by all
