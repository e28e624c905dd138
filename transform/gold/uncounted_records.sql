/*
grain   = "one row per kind of record, rule and currency, of the orders and expenses that are in no other number"
key     = ["kind", "rule", "currency"]
rebuild = "whole"

# An order is refused if the ingest could not type its newest observation, see bronze.rejected. If an older observation
# of it is in the numbers, only the difference is missing. Orders of excluded sources are not listed.
[columns]
kind          = "VARCHAR"         # order or expense
rule          = "VARCHAR"         # the rule that they break, see silver.set_aside_orders and silver.set_aside_expenses; or refused
currency      = "VARCHAR"         # currency of the amount
records_count = "BIGINT"          # number of orders or expenses; adds up over rules and currencies
amount        = "DECIMAL(38,2)"   # in that currency, as far as it can be read; adds up over rules
*/
with refused as (
    select
        id,
        if(id is null, payload_hash, '') as content,
        max(fetched_at) as refused_at,
        arg_max(if(json_valid(payload), payload, 'null'), fetched_at) as payload,
        arg_max(payload, fetched_at) as text,
    from bronze.rejected
    where entity = 'orders'
    group by all
),

newest as (
    select id, max(fetched_at) as accepted_at
    from bronze.orders
    where id in (select id from refused)
    group by id
),

open_refusals as (
    select
        r.id,
        try_cast(r.payload ->> '$.source_id' as bigint) as source_id,
        try_cast(
            if(
                r.payload = 'null',
                regexp_extract(r.text, '"grand_total":\s*"?(-?\d+(\.\d+)?)', 1),
                r.payload ->> '$.grand_total'
            ) as decimal(18, 2)
        ) as amount,
    from refused as r
    left join newest as n on n.id = r.id
    where
        r.refused_at > coalesce(n.accepted_at, timestamptz '1970-01-01')
        -- Without a readable id, it is an order that is known by now if one was created at the same time.
        and not (
            r.id is null
            and coalesce(
                try_cast(r.payload ->> '$.created_at' as timestamptz)
                in (select created_at from bronze.orders where created_at is not null),
                false
            )
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
    from open_refusals as r
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
