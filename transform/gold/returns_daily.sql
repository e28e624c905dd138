/*
grain   = "one row per order day and sales type; a return counts on the day of its order"
key     = ["date", "sales_type"]
rebuild = "by month"
month   = "date"
money   = "returns_amount"

[columns]
date           = "DATE"           # shop day of the orders (Europe/Kyiv)
sales_type     = "VARCHAR"        # retail, b2b or other, see silver.orders
returns_count  = "BIGINT"         # number of returns; adds up over days and types
returns_amount = "DECIMAL(18,2)"  # money, sum of grand_total of the returns; adds up over days and types
orders_count   = "BIGINT"         # number of all orders of the day, returns included; adds up over days and types
return_rate    = "DECIMAL(5,4)"   # returns_count / orders_count; does not add up, recompute it for a longer span

[checks]
returns_are_orders = "returns_count between 0 and orders_count"
*/
with days as (
    select
        order_date as date,
        sales_type,
        count(*) filter (where is_return) as returns_count,
        coalesce(sum(grand_total) filter (where is_return), 0)::decimal(18, 2) as returns_amount,
        count(*) as orders_count,
    from silver.orders
    group by all
)

select
    date,
    sales_type,
    returns_count,
    returns_amount,
    orders_count,
    -- Integer division in steps of 0.0001, rounded half away from zero; a double would lose halves.
    (((20000 * returns_count + orders_count) // (2 * orders_count)) * 0.0001)::decimal(5, 4) as return_rate,
from days
