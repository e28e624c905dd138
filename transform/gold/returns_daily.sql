/*
grain   = "one row per day of the order and sales type; an order that came back counts on the day it was placed"
key     = ["date", "sales_type"]
rebuild = "by month"
month   = "date"
money   = "returns_amount"

[columns]
date           = "DATE"
sales_type     = "VARCHAR"
returns_count  = "BIGINT"              # adds up over days and types
returns_amount = "DECIMAL(18,2)"       # adds up over days and types
orders_count   = "BIGINT"              # all orders of the day, returns included; adds up
return_rate    = "DECIMAL(5,4)"        # returns_count / orders_count; does not add up

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
    -- Whole ten thousandths, half away from zero: a double would miss halves.
    (((20000 * returns_count + orders_count) // (2 * orders_count)) * 0.0001)::decimal(5, 4) as return_rate,
from days
