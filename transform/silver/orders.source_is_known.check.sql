/*
fact     = "the CRM lists the source of every order"
severity = "warn"
*/
select distinct o.source_id
from silver.orders as o
anti join silver.sources as s on s.id = o.source_id
