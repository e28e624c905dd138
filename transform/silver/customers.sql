/*
grain     = "one row per buyer who bought and kept something, over all channels, those that are left out too"
key       = ["buyer_id"]
rebuild   = "by key"
partition = "first_order_date"

# A purchase is an order that did not come back. Of the sources left out only the days are known here.
[columns]
buyer_id          = "BIGINT"
purchases_count   = "BIGINT"               # over all channels
orders_count      = "BIGINT"               # of the sources that count
revenue           = "DECIMAL(18,2)"        # of the sources that count
first_order_date  = "DATE"                 # over all channels
second_order_date = "DATE?"                # over all channels, the first day again where both were on it; null: none yet
last_order_date   = "DATE?"                # of the sources that count; null: bought at the others only

[checks]
orders_are_purchases      = "orders_count between 0 and purchases_count"
second_is_not_before_first = "second_order_date is null or second_order_date >= first_order_date"
*/
with purchases as (
    select buyer_id, order_date, grand_total
    from silver.orders
    where not is_return and buyer_id is not null
    union all
    select buyer_id, order_date, null
    from silver.excluded_orders
    where not is_return and buyer_id is not null
)

select
    buyer_id,
    count(*) as purchases_count,
    count(grand_total) as orders_count,
    coalesce(sum(grand_total), 0)::decimal(18, 2) as revenue,
    min(order_date) as first_order_date,
    min(order_date, 2)[2] as second_order_date,
    max(order_date) filter (grand_total is not null) as last_order_date,
from purchases
group by buyer_id
