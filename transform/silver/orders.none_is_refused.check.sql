/*
fact     = "the newest observation of every order was accepted, so that silver.orders shows the state in the CRM"
severity = "warn"
*/
select
    r.id,
    any_value(r.reason) as reason,
from bronze.rejected as r
where
    r.entity = 'orders'
    and r.fetched_at > coalesce((select max(o.fetched_at) from bronze.orders as o where o.id = r.id), timestamptz '1970-01-01')
group by r.id
