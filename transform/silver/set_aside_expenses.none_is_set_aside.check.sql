/*
fact     = "no expense breaks a rule, so that every expense is in the numbers"
severity = "warn"
*/
select
    e.order_id,
    e.expense_id,
    e.rule,
    e.amount as total,
    e.currency,
    if(e.currency = c.currency, e.amount, null) as amount,
    (
        select string_agg(each.order_id, ' ' order by each.order_id)
        from (select distinct order_id from silver.set_aside_expenses order by order_id limit 20) as each
    ) as orders,
from silver.set_aside_expenses as e
cross join rules.currency as c
where not e.is_canceled
order by e.order_id, e.position
