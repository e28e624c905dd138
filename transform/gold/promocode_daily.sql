/*
grain   = "one row per shop day and promocode of the orders; returns excluded"
key     = ["date", "promocode"]
rebuild = "by month"
month   = "date"
money   = "revenue"

[columns]
date         = "DATE"           # shop day of the orders (Europe/Kyiv)
promocode    = "VARCHAR?"       # as typed; null for orders without one
revenue      = "DECIMAL(18,2)"  # money, sum of grand_total; adds up over days and promocodes
orders_count = "BIGINT"         # number of orders; adds up over days and promocodes
discount     = "DECIMAL(18,2)"  # money, discounts on whole orders, by promocode or otherwise; adds up over days and promocodes
avg_check    = "DECIMAL(18,2)"  # money per order: revenue / orders_count; does not add up, recompute it for a longer span
*/
with days as (
    select
        order_date as date,
        promocode,
        sum(grand_total) as revenue,
        count(*) as orders_count,
        -- If KeyCRM gives no discount, there was none.
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
    -- Whole kopecks, rounded half away from zero, as in gold.revenue_daily.
    (((2 * kopecks + orders_count) // (2 * orders_count))::decimal(18, 0) * 0.01)::decimal(18, 2) as avg_check,
from days
