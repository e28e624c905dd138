/*
grain   = "one row per shop day and manager that had orders; returns are left out"
key     = ["date", "manager_id"]
rebuild = "by month"
month   = "date"
money   = "revenue"

[columns]
date         = "DATE"
manager_id   = "BIGINT?"               # null: nobody took the order, as most from the web
manager_name = "VARCHAR?"              # null: nobody, or one the CRM does not list
revenue      = "DECIMAL(18,2)"         # adds up over days and managers
orders_count = "BIGINT"                # adds up over days and managers
avg_check    = "DECIMAL(18,2)"         # does not add up: of a longer span it is revenue / orders_count
*/
with days as (
    select
        order_date as date,
        manager_id,
        manager_name,
        sum(grand_total) as revenue,
        count(*) as orders_count,
        (sum(grand_total) * 100)::hugeint as kopecks,
    from silver.orders
    where not is_return
    group by all
)

select
    date,
    manager_id,
    manager_name,
    revenue::decimal(18, 2) as revenue,
    orders_count,
    -- Whole kopecks, half away from zero, as in gold.revenue_daily.
    (((2 * kopecks + orders_count) // (2 * orders_count))::decimal(18, 0) * 0.01)::decimal(18, 2) as avg_check,
from days
