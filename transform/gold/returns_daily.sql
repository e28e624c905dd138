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

[checks]
returns_are_orders = "returns_count between 0 and orders_count"
*/
select
    order_date as date,
    sales_type,
    count(*) filter (where is_return) as returns_count,
    coalesce(sum(grand_total) filter (where is_return), 0)::decimal(18, 2) as returns_amount,
    count(*) as orders_count,
from silver.orders
group by all
