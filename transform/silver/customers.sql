/*
grain     = "one row per buyer with a purchase at any source, included or excluded"
key       = ["buyer_id"]
rebuild   = "by key"
partition = "first_order_date"

# A purchase is an order that is not a return. Orders of excluded sources (rules.excluded_sources) add to
# purchases_count and to the first two days only, not to orders_count or revenue.
[columns]
buyer_id          = "BIGINT"         # id of the buyer card
purchases_count   = "BIGINT"         # number of purchases at all sources
orders_count      = "BIGINT"         # number of purchases at included sources
revenue           = "DECIMAL(18,2)"  # money, sum of grand_total over purchases at included sources
first_order_date  = "DATE"           # shop day of the first purchase at any source
second_order_date = "DATE?"          # shop day of the second purchase at any source, may equal the first; null if there is none
last_order_date   = "DATE?"          # shop day of the last purchase at an included source; null if there is none

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
