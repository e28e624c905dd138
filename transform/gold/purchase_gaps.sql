/*
grain   = "one row per month of the first purchase and number of days until the second"
key     = ["first_month", "days"]
rebuild = "whole"

# A purchase is an order at any source, included or excluded, that is not a return.
[columns]
first_month  = "DATE"     # first day of the month of the first purchase
days         = "BIGINT?"  # days from the first purchase to the second, 0 if both were on one day; null if there is no second yet
buyers_count = "BIGINT"   # number of buyers; adds up over months and days

[checks]
days_go_forward = "days is null or days >= 0"
*/
select
    date_trunc('month', first_order_date)::date as first_month,
    second_order_date - first_order_date as days,
    count(*) as buyers_count,
from silver.customers
group by all
