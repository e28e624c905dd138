/*
fact     = "no order's day lies more than a year after its last change in the CRM"
severity = "warn"
*/
select id, ordered_at, updated_at
from silver.orders
where epoch(ordered_at) - epoch(updated_at) > 366 * 86400
