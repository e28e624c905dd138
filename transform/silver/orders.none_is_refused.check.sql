/*
fact     = "the newest observation of every order was accepted, so that silver.orders shows the state in the CRM"
severity = "warn"
*/
with refused as (
    select
        id,
        -- Without a readable id, only its content distinguishes an object from others.
        if(id is null, payload_hash, '') as content,
        max(fetched_at) as refused_at,
        arg_max(reason, fetched_at) as reason,
        arg_max(payload, fetched_at) as payload,
    from bronze.rejected
    where entity = 'orders'
    group by all
),

facts as (
    select
        *,
        try_cast(
            -- A payload with bytes that are no text is stored with escapes, which are no JSON.
            if(
                json_valid(payload),
                if(json_valid(payload), payload, 'null') ->> '$.grand_total',
                regexp_extract(payload, '"grand_total":\s*"?(-?\d+(\.\d+)?)', 1)
            ) as decimal(18, 2)
        ) as readable_amount,
        try_cast(if(json_valid(payload), payload, 'null') ->> '$.created_at' as timestamptz) as created_at,
    from refused
),

newest as (
    select
        id,
        max(fetched_at) as accepted_at,
    from bronze.orders
    group by id
),

open_refusals as (
    select f.*
    from facts as f left join newest as n on n.id = f.id
    where
        f.refused_at > coalesce(n.accepted_at, timestamptz '1970-01-01')
        -- An object without an id is an order that is known by now if one was created at the same time.
        and not (
            f.id is null
            and f.created_at in (select created_at from bronze.orders where created_at is not null)
        )
)

select
    id,
    reason,
    coalesce(readable_amount, 0) as amount,
    count(*) filter (where readable_amount is null) over () as amounts_unreadable,
from open_refusals
order by id
