/*
fact     = "every order's status is in the CRM's list of statuses"
severity = "warn"
*/
select distinct o.status_id
from silver.orders as o
anti join silver.statuses as s on s.id = o.status_id
