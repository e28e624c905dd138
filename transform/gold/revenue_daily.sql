/*
grain   = "one row per shop day and sales type with orders; returns excluded"
key     = ["date", "sales_type"]
rebuild = "by month"
month   = "date"
money   = "revenue"

[columns]
date         = "DATE"           # shop day of the orders (Europe/Kyiv)
sales_type   = "VARCHAR"        # retail, b2b or other, see silver.orders
revenue      = "DECIMAL(18,2)"  # money, sum of grand_total; adds up over days and types
orders_count = "BIGINT"         # number of orders; adds up over days and types
avg_check    = "DECIMAL(18,2)"  # money per order: revenue / orders_count; does not add up, recompute it for a longer span
*/
with days as (
    select
        order_date as date,
        sales_type,
        sum(grand_total) as revenue,
        count(*) as orders_count,
        (sum(grand_total) * 100)::hugeint as kopecks,
    from silver.orders
    where not is_return
    group by all
)

select
    date,
    sales_type,
    revenue::decimal(18, 2) as revenue,
    orders_count,
    -- Divide whole kopecks, rounded half away from zero: DuckDB divides decimals as doubles and loses half kopecks.
    (((2 * kopecks + orders_count) // (2 * orders_count))::decimal(18, 0) * 0.01)::decimal(18, 2) as avg_check,
from days
