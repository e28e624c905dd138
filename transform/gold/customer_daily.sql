/*
grain   = "one row per shop day, sales type and kind of buyer: new, returning, or unknown; returns are left out"
key     = ["date", "sales_type", "buyer_type"]
rebuild = "by month"
month   = "date"
money   = "revenue"

# New on the day of the first purchase over all channels, those that are left out too, and returning on every later
# day; an order without a buyer's card is of unknown. A purchase is an order that did not come back.
[columns]
date         = "DATE"
sales_type   = "VARCHAR"
buyer_type   = "VARCHAR"
buyers_count = "BIGINT"                # distinct: adds up over kinds, not over days, nor over types for one who bought in two
orders_count = "BIGINT"                # adds up over all
revenue      = "DECIMAL(18,2)"         # adds up over all

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
