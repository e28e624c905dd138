/*
fact     = "the newest observation of every order was accepted, so that silver.orders shows the state in the CRM"
severity = "warn"
*/
with refused as (
    select id, reason, amount
    from silver.refused_orders
    union all
    select null, reason, amount
    from silver.unnamed_orders
)

select
    id,
    reason,
    coalesce(amount, 0) as amount,
    count(*) filter (where amount is null) over () as amounts_unreadable,
from refused
order by id
