/*
grain   = "one row per kind of record, rule and currency, of the orders and expenses that are in no other number"
key     = ["kind", "rule", "currency"]
rebuild = "whole"

# An order is refused if the ingest could not type its newest observation, see silver.refused_orders. If an older observation
# of it is in the numbers, only the difference is missing. Orders of excluded sources are not listed.
[columns]
kind          = "VARCHAR"         # order or expense
rule          = "VARCHAR"         # the rule that they break, see silver.set_aside_orders and silver.set_aside_expenses; or refused
currency      = "VARCHAR"         # currency of the amount
records_count = "BIGINT"          # number of orders or expenses; adds up over rules and currencies
amount        = "DECIMAL(38,2)"   # in that currency, as far as it can be read; adds up over rules
*/
with unnamed as (
    select
        arg_max(if(json_valid(payload), payload, 'null'), fetched_at) as payload,
        arg_max(regexp_extract(payload, '"grand_total":\s*"?(-?\d+(\.\d+)?)', 1), fetched_at) as written_amount,
    from bronze.rejected
    where entity = 'orders' and id is null
    -- Without a readable id, only its content distinguishes an order from others.
    group by payload_hash
),

refused as (
    select id, source_id, amount
    from silver.refused_orders
    union all
    select
        null,
        try_cast(u.payload ->> '$.source_id' as bigint),
        try_cast(if(u.payload = 'null', u.written_amount, u.payload ->> '$.grand_total') as decimal(18, 2)),
    from unnamed as u
    -- It is known by now if an order was created at the same time.
    where not coalesce(
        try_cast(u.payload ->> '$.created_at' as timestamptz) in (select created_at from silver.orders), false
    )
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
        coalesce(s.currency_code, (select currency from rules.currency)),
        coalesce(r.amount, 0) - if(o.rate = 1, o.grand_total, 0),
    from refused as r
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
    sum(amount)::decimal(38, 2) as amount,
from records
group by kind, rule, currency
