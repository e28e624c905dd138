/*
grain   = "one row per line of an order of an included source, from the order's newest observation"
key     = ["order_id", "position"]
rebuild = "by key"
month   = "order_date"
money   = "total"

[columns]
order_id        = "BIGINT"          # id of the order in KeyCRM
position        = "BIGINT"          # place in the order, from 1; identifies the line, since line_id may be missing
line_id         = "BIGINT?"         # id of the line in KeyCRM; null if KeyCRM gives none
product_id      = "BIGINT?"         # null if the line is one-off goods without a catalogue entry
offer_id        = "BIGINT?"         # variant that was sold; null if KeyCRM gives none
sold_name       = "VARCHAR?"        # product name at the time of the sale; null if KeyCRM gives none
sku             = "VARCHAR?"        # article number; null if the line has none
order_date      = "DATE"            # shop day of the order (Europe/Kyiv)
is_return       = "BOOLEAN"         # true if the order is a return, see silver.orders
list_price      = "DECIMAL(18,4)"   # money per unit, before discounts; converted with silver.orders.rate
price           = "DECIMAL(18,4)"   # money per unit, after the line's discounts; converted, may be finer than a kopeck
purchased_price = "DECIMAL(18,4)?"  # money per unit, the cost recorded on the line, not converted; null if the line has none
unit_cost       = "DECIMAL(18,4)?"  # money per unit: purchased_price, else the offer's at the end of order_date; null if unknown or above rules.limits
quantity        = "DECIMAL(18,3)"   # pieces, or the line's own unit
total           = "DECIMAL(18,2)"   # money, price x quantity
is_upsale       = "BOOLEAN"         # true if KeyCRM marks the line as an upsale

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
    (l.price::decimal(38, 4) * o.rate)::decimal(18, 4) as list_price,
    (coalesce(l.price_sold, l.price)::decimal(38, 4) * o.rate)::decimal(18, 4) as price,
    l.purchased_price,
    -- A cost that can't be right is unknown: the line counts, its cost does not.
    case
        when
            abs(coalesce(l.purchased_price, c.purchased_price)::double * greatest(abs(l.quantity), 1)::double)
            <= (select largest_amount::double from rules.limits)
            then coalesce(l.purchased_price, c.purchased_price)
    end as unit_cost,
    l.quantity,
    ((coalesce(l.price_sold, l.price)::decimal(38, 4) * o.rate)::decimal(38, 4) * l.quantity)::decimal(18, 2) as total,
    coalesce(l.upsale, false) as is_upsale,
from silver.orders as o
-- Lines belong to one observation of their order, so a line removed by an edit has no row.
join bronze.order_products as l on l.order_id = o.id and l.fetched_at = o.observed_at
left join silver.offer_costs as c
    on c.offer_id = l.offer_id
    and l.purchased_price is null
    and o.order_date >= c.since_date
    and (o.order_date < c.until_date or c.until_date is null)
