/*
fact     = "[rules] rates has a rate for every source whose orders are in another currency"
severity = "warn"
*/
select
    source_id,
    currency,
    count(*) as orders,
    sum(amount) as total,
from silver.set_aside_orders
where rule = 'currency_has_rate'
group by source_id, currency
order by source_id
