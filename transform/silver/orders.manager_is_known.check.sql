/*
fact     = "the CRM lists the manager of every order"
severity = "warn"
*/
select distinct o.manager_id
from silver.orders as o
anti join silver.managers as m on m.id = o.manager_id
where o.manager_id is not null
