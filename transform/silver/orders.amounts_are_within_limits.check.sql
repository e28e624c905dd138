/*
fact     = "no products_total, total_discount or shipping_price of an order is above rules.limits, so that each counts"
severity = "warn"
*/
select
    o.id,
    b.products_total,
    b.total_discount,
    b.shipping_price,
from silver.orders as o
join bronze.orders as b on b.id = o.id and b.fetched_at = o.observed_at
where
    (o.products_total is null and b.products_total is not null)
    or (o.total_discount is null and b.total_discount is not null)
    or (o.shipping_price is null and b.shipping_price is not null)
