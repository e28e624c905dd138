/*
grain   = "one row per shop day and brand of the products sold; returns excluded"
key     = ["date", "brand"]
rebuild = "by month"
month   = "date"
money   = "revenue"

# Sums gold.product_daily by the brand that each product has today. All brands together equal gold.product_daily.
[columns]
date     = "DATE"           # shop day of the orders (Europe/Kyiv)
brand    = "VARCHAR?"       # null if the product has no brand, left the catalogue or is one-off goods
quantity = "DECIMAL(18,3)"  # pieces sold; adds up over days and brands
revenue  = "DECIMAL(18,2)"  # money, as in gold.product_daily; adds up over days and brands
*/
select
    date,
    brand,
    sum(quantity)::decimal(18, 3) as quantity,
    sum(revenue)::decimal(18, 2) as revenue,
from gold.product_daily
group by all
