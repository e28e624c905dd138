/*
grain   = "one row per shop day and source that had orders; returns are left out"
key     = ["date", "source_id"]
rebuild = "by month"
month   = "date"
money   = "revenue"

[columns]
date         = "DATE"
source_id    = "BIGINT"
source_name  = "VARCHAR?"
revenue      = "DECIMAL(18,2)"         # adds up over days and sources
orders_count = "BIGINT"                # adds up over days and sources
avg_check    = "DECIMAL(18,2)"         # does not add up: of a longer span it is revenue / orders_count
*/
with days as (
    select
        order_date as date,
        source_id,
        any_value(source_name) as source_name,
        sum(grand_total) as revenue,
        count(*) as orders_count,
        (sum(grand_total) * 100)::hugeint as kopecks,
    from silver.orders
    where not is_return
    group by order_date, source_id
)

select
    date,
    source_id,
    source_name,
    revenue::decimal(18, 2) as revenue,
    orders_count,
    -- Whole kopecks, half away from zero, as in gold.revenue_daily.
    (((2 * kopecks + orders_count) // (2 * orders_count))::decimal(18, 0) * 0.01)::decimal(18, 2) as avg_check,
from days
