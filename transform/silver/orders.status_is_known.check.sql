/*
fact     = "the CRM lists the status of every order"
severity = "warn"
*/
select distinct o.status_id
from silver.orders as o
anti join silver.statuses as s on s.id = o.status_id
