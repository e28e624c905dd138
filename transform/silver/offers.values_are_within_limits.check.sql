/*
fact     = "no stock, reserve or purchase price of an offer is above rules.limits, so that each counts"
severity = "warn"
*/
select
    o.id as offer_id,
    b.quantity,
    b.in_reserve as reserve,
    b.purchased_price,
from silver.offers as o
join bronze.offers as b on b.id = o.id and b.fetched_at = o.observed_at
cross join rules.limits as m
where
    abs(b.quantity) > m.largest_quantity
    or abs(b.in_reserve) > m.largest_quantity
    or abs(b.purchased_price) > m.largest_amount
