/*
grain   = "one row per shop day and category of the products sold; returns excluded"
key     = ["date", "category_id"]
rebuild = "by month"
month   = "date"
money   = "revenue"

# Sums gold.product_daily by the category that each product has today. All categories together equal
# gold.product_daily. A category's row has its own products only: add its children's rows for the whole branch.
[columns]
date          = "DATE"           # shop day of the orders (Europe/Kyiv)
category_id   = "BIGINT?"        # null if the product has no category, left the catalogue or is one-off goods
category_name = "VARCHAR?"       # null if there is no category or KeyCRM does not list it
parent_id     = "BIGINT?"        # null if there is no category, or it is a root or not listed
parent_name   = "VARCHAR?"       # null if parent_id is null or the parent was deleted
quantity      = "DECIMAL(18,3)"  # pieces sold, without child categories; adds up over days and categories
revenue       = "DECIMAL(18,2)"  # money, as in gold.product_daily, without child categories; adds up over days and categories
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
