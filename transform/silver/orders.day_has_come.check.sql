/*
fact     = "no order is dated more than 366 days after its last change in the CRM"
severity = "warn"
*/
select id, ordered_at, updated_at
from silver.orders
where epoch(ordered_at) - epoch(updated_at) > 366 * 86400
