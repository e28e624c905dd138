/*
fact     = "every order's source is in the CRM's list of sources"
severity = "warn"
*/
select distinct o.source_id
from silver.orders as o
anti join silver.sources as s on s.id = o.source_id
