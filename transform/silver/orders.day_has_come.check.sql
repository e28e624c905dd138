/*
fact     = "no order's day lies more than a year after its last change in the CRM"
severity = "warn"
*/
select id, ordered_at, updated_at
from silver.orders
where date_diff('day', updated_at, ordered_at) > 366
