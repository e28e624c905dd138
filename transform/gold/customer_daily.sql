/*
grain   = "one row per shop day, sales type and buyer type (new, returning, unknown); returns excluded"
key     = ["date", "sales_type", "buyer_type"]
rebuild = "by month"
month   = "date"
money   = "revenue"

# A purchase is an order that is not a return. A buyer is new on the day of the first purchase at any source, included
# or excluded, and returning on every later day. An order without a buyer card is of type unknown.
[columns]
date         = "DATE"           # shop day of the orders (Europe/Kyiv)
sales_type   = "VARCHAR"        # retail, b2b or other, see silver.orders
buyer_type   = "VARCHAR"        # new on the day of the first purchase, returning later, unknown if there is no buyer card
buyers_count = "BIGINT"         # number of distinct buyers, 0 for unknown; adds up over buyer types only
orders_count = "BIGINT"         # number of orders; adds up over days and types
revenue      = "DECIMAL(18,2)"  # money, sum of grand_total; adds up over days and types

[checks]
buyer_type_is_known   = "buyer_type in ('new', 'returning', 'unknown')"
buyers_are_of_orders  = "buyers_count between (buyer_type <> 'unknown')::int and orders_count"
unknown_are_no_buyers = "buyer_type <> 'unknown' or buyers_count = 0"
*/
select
    o.order_date as date,
    o.sales_type,
    case
        when o.buyer_id is null then 'unknown'
        when o.order_date = c.first_order_date then 'new'
        else 'returning'
    end as buyer_type,
    count(distinct o.buyer_id) as buyers_count,
    count(*) as orders_count,
    sum(o.grand_total)::decimal(18, 2) as revenue,
from silver.orders as o
left join silver.customers as c on c.buyer_id = o.buyer_id
where not o.is_return
group by all
