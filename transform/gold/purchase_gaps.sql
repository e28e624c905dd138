/*
grain   = "one row per month of the first purchase and days from it to the second"
key     = ["first_month", "days"]
rebuild = "whole"

# Purchases are orders over all channels, those that are left out too, that did not come back.
[columns]
first_month  = "DATE"                  # first of the month
days         = "BIGINT?"               # 0: both on one day; null: no second purchase yet
buyers_count = "BIGINT"                # adds up over all

[checks]
days_go_forward = "days is null or days >= 0"
*/
select
    date_trunc('month', first_order_date)::date as first_month,
    second_order_date - first_order_date as days,
    count(*) as buyers_count,
from silver.customers
group by all
