/*
fact     = "no order breaks a rule, so that every order is in the numbers"
severity = "warn"
*/
with listed as (
    select string_agg(order_id, ' ' order by order_id) as ids
    from (select order_id from silver.set_aside_orders order by order_id limit 20)
)

select
    a.order_id,
    a.rule,
    a.order_date,
    a.amount as total,
    a.currency,
    if(a.currency = c.currency, a.amount, null) as amount,
    l.ids as orders,
from silver.set_aside_orders as a
cross join rules.currency as c
cross join listed as l
order by a.order_id
