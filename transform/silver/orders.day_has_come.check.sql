/*
fact     = "no order's day lies more than a year after its last change in the CRM"
severity = "warn"
*/
select id, ordered_at, updated_at
from silver.orders
where ordered_at > updated_at + interval 366 days
