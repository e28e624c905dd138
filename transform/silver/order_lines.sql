/*
grain   = "one row per line of an order that counts, as the order's newest state has it"
key     = ["order_id", "position"]
rebuild = "by key"
month   = "order_date"
money   = "total"

[columns]
order_id        = "BIGINT"
position        = "BIGINT"             # place in the order, from 1; a line's id may be missing
line_id         = "BIGINT?"
product_id      = "BIGINT?"            # null: one-off goods without a catalogue entry
offer_id        = "BIGINT?"
sold_name       = "VARCHAR?"           # the name it was sold under
sku             = "VARCHAR?"
order_date      = "DATE"
is_return       = "BOOLEAN"
list_price      = "DECIMAL(18,4)"      # per unit, before discounts
price           = "DECIMAL(18,4)"      # per unit, what it was sold at; may be finer than a kopeck
purchased_price = "DECIMAL(18,4)?"     # per unit, the cost when it was sold, as the line says it
unit_cost       = "DECIMAL(18,4)?"     # the same, or where the line says none the offer's price as seen by that day's end
quantity        = "DECIMAL(18,3)"      # pieces, or the line's own unit
total           = "DECIMAL(18,2)"      # price x quantity
is_upsale       = "BOOLEAN"

[checks]
price_is_not_negative = "price >= 0"
*/
select
    o.id as order_id,
    l.position,
    l.id as line_id,
    l.product_id,
    l.offer_id,
    l.name as sold_name,
    l.sku,
    o.order_date,
    o.is_return,
    l.price as list_price,
    coalesce(l.price_sold, l.price) as price,
    l.purchased_price,
    coalesce(l.purchased_price, c.purchased_price) as unit_cost,
    l.quantity,
    (coalesce(l.price_sold, l.price) * l.quantity)::decimal(18, 2) as total,
    coalesce(l.upsale, false) as is_upsale,
from silver.orders as o
-- Lines belong to one observation of their order, so an old line can't outlive an edit.
join bronze.order_products as l on l.order_id = o.id and l.fetched_at = o.observed_at
left join silver.offer_costs as c
    on c.offer_id = l.offer_id
    and l.purchased_price is null
    and o.order_date >= c.since_date
    and (o.order_date < c.until_date or c.until_date is null)
