/*
grain   = "one row per shop day and source with orders; returns excluded"
key     = ["date", "source_id"]
rebuild = "by month"
month   = "date"
money   = "revenue"

[columns]
date         = "DATE"           # shop day of the orders (Europe/Kyiv)
source_id    = "BIGINT"         # sales channel of the orders
source_name  = "VARCHAR?"       # null if KeyCRM does not list the source
revenue      = "DECIMAL(18,2)"  # money, sum of grand_total; adds up over days and sources
orders_count = "BIGINT"         # number of orders; adds up over days and sources
avg_check    = "DECIMAL(18,2)"  # money per order: revenue / orders_count; does not add up, recompute it for a longer span
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
    -- Whole kopecks, rounded half away from zero, as in gold.revenue_daily.
    (((2 * kopecks + orders_count) // (2 * orders_count))::decimal(18, 0) * 0.01)::decimal(18, 2) as avg_check,
from days
