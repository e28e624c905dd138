/*
fact     = "every order's buyer is in the CRM's list of buyers"
severity = "warn"
*/
select distinct o.buyer_id
from silver.orders as o
anti join silver.buyers as b on b.id = o.buyer_id
where o.buyer_id is not null
