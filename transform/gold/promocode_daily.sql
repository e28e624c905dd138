/*
grain   = "one row per shop day and promocode that orders were placed with; returns are left out"
key     = ["date", "promocode"]
rebuild = "by month"
month   = "date"
money   = "revenue"

[columns]
date         = "DATE"
promocode    = "VARCHAR?"              # as it was written; null: orders without one
revenue      = "DECIMAL(18,2)"         # adds up over days and promocodes
orders_count = "BIGINT"                # adds up over days and promocodes
discount     = "DECIMAL(18,2)"         # taken off whole orders, by a promocode or otherwise; adds up
avg_check    = "DECIMAL(18,2)"         # does not add up: of a longer span it is revenue / orders_count
*/
with days as (
    select
        order_date as date,
        promocode,
        sum(grand_total) as revenue,
        count(*) as orders_count,
        -- Where the CRM says no discount there was none.
        coalesce(sum(total_discount), 0) as discount,
        (sum(grand_total) * 100)::hugeint as kopecks,
    from silver.orders
    where not is_return
    group by all
)

select
    date,
    promocode,
    revenue::decimal(18, 2) as revenue,
    orders_count,
    discount::decimal(18, 2) as discount,
    -- Whole kopecks, half away from zero, as in gold.revenue_daily.
    (((2 * kopecks + orders_count) // (2 * orders_count))::decimal(18, 0) * 0.01)::decimal(18, 2) as avg_check,
from days
