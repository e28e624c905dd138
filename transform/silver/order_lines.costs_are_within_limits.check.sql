/*
fact     = "no cost of a line is above rules.limits, so that each known cost counts"
severity = "warn"
*/
select
    l.order_id,
    l.position,
    l.product_id,
    coalesce(l.purchased_price, c.purchased_price) as purchased_price,
    l.quantity,
from silver.order_lines as l
left join silver.offer_costs as c
    on c.offer_id = l.offer_id
    and l.purchased_price is null
    and l.order_date >= c.since_date
    and (l.order_date < c.until_date or c.until_date is null)
where l.unit_cost is null and coalesce(l.purchased_price, c.purchased_price) is not null
