/*
grain   = "one row per shop day and sales type that had orders; returns are left out"
key     = ["date", "sales_type"]
rebuild = "by month"
month   = "date"
money   = "revenue"

[columns]
date         = "DATE"
sales_type   = "VARCHAR"
revenue      = "DECIMAL(18,2)"         # adds up over days and types
orders_count = "BIGINT"                # adds up over days and types
avg_check    = "DECIMAL(18,2)"         # does not add up: of a longer span it is revenue / orders_count
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
    -- DuckDB divides decimals as doubles and misses half kopecks: whole kopecks, half away from zero.
    (((2 * kopecks + orders_count) // (2 * orders_count))::decimal(18, 0) * 0.01)::decimal(18, 2) as avg_check,
from days
