/*
fact     = "the CRM lists the buyer of every order"
severity = "warn"
*/
select distinct o.buyer_id
from silver.orders as o
anti join silver.buyers as b on b.id = o.buyer_id
where o.buyer_id is not null
