/*
grain   = "one row per shop day and brand of the products sold; returns are left out"
key     = ["date", "brand"]
rebuild = "by month"
month   = "date"
money   = "revenue"

# The sums of gold.product_daily by the brand that each product has today; all brands together are it.
[columns]
date     = "DATE"
brand    = "VARCHAR?"                  # null: no brand, a product no longer known, one-off goods
quantity = "DECIMAL(18,3)"             # adds up over days and brands
revenue  = "DECIMAL(18,2)"             # adds up over days and brands
*/
select
    date,
    brand,
    sum(quantity)::decimal(18, 3) as quantity,
    sum(revenue)::decimal(18, 2) as revenue,
from gold.product_daily
group by all
