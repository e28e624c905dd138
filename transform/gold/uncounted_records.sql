/*
grain   = "one row per kind of record, rule and currency, of the orders and expenses that are in no other number"
key     = ["kind", "rule", "currency"]
rebuild = "whole"

# An order is refused if the ingest could not type its newest observation, see silver.refused_orders and
# silver.unnamed_orders. If an older observation of it is in the numbers, only the difference is missing. Orders of excluded
# sources are not listed.
[columns]
kind          = "VARCHAR"         # order or expense
rule          = "VARCHAR"         # the rule that they break, see silver.set_aside_orders and silver.set_aside_expenses; or refused
currency      = "VARCHAR"         # currency of the amount
records_count = "BIGINT"          # number of orders or expenses; adds up over rules and currencies
unread_count  = "BIGINT"          # how many of them have an amount that can't be read; adds up over rules and currencies
amount        = "DECIMAL(38,2)"   # in that currency, as far as it can be read; adds up over rules
*/
with refused as (
    select id, source_id, amount
    from silver.refused_orders
    union all
    select null, source_id, amount
    from silver.unnamed_orders
),

records as (
    select 'order' as kind, a.rule, a.currency, a.amount
    from silver.set_aside_orders as a
    where a.source_id not in (select source_id from rules.excluded_sources)
    union all
    select 'expense', e.rule, e.currency, e.amount
    from silver.set_aside_expenses as e
    where not e.is_canceled
    union all
    select
        'order',
        'refused',
        coalesce(s.currency_code, c.currency) as currency,
        -- An older state that is in revenue is not missing.
        r.amount - case
            when o.is_return or o.currency <> coalesce(s.currency_code, c.currency) then 0
            when o.rate <> 1 then (o.grand_total / o.rate)::decimal(18, 2)
            else coalesce(o.grand_total, 0)
        end,
    from refused as r
    cross join rules.currency as c
    left join silver.sources as s on s.id = r.source_id
    left join silver.orders as o on o.id = r.id
    where
        coalesce(r.source_id not in (select source_id from rules.excluded_sources), true)
        and not exists (from silver.set_aside_orders as a where a.order_id = r.id)
)

select
    kind,
    rule,
    currency,
    count(*) as records_count,
    count(*) - count(amount) as unread_count,
    coalesce(sum(amount), 0)::decimal(38, 2) as amount,
from records
group by kind, rule, currency
