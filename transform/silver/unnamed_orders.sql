/*
grain   = "one row per content of an order that the ingest refused, if its id can't be read and no known order is it"
key     = ["content"]
rebuild = "whole"

# Without a readable id, only its content distinguishes an order from others. It is known by now if an accepted order
# has the same creation time, source and buyer.
[columns]
content    = "VARCHAR"         # hash of the payload
source_id  = "BIGINT?"         # sales channel of the order; null if it can't be read
reason     = "VARCHAR"         # why the ingest refused it
amount     = "DECIMAL(18,2)?"  # grand_total in the order's currency; null if it can't be read
refused_at = "TIMESTAMPTZ"     # fetch time of the newest observation
*/
with contents as (
    select
        payload_hash,
        max(fetched_at) as refused_at,
        arg_max(reason, fetched_at) as reason,
        arg_max(if(json_valid(payload), payload, 'null'), fetched_at) as payload,
        -- A payload with bytes that are no text is stored with escapes, which are no JSON.
        arg_max(regexp_extract(payload, '"grand_total":\s*"?(-?\d+(\.\d+)?)', 1), fetched_at) as written_amount,
    from bronze.rejected
    where entity = 'orders' and id is null
    group by payload_hash
),

facts as (
    select
        *,
        try_cast(payload ->> '$.source_id' as bigint) as source_id,
        try_cast(if(payload = 'null', written_amount, payload ->> '$.grand_total') as decimal(18, 2)) as amount,
        try_cast(payload ->> '$.created_at' as timestamptz) as created_at,
        try_cast(coalesce(payload ->> '$.client_id', payload ->> '$.buyer.id') as bigint) as buyer_id,
    from contents
)

select
    f.payload_hash as content,
    f.source_id,
    f.reason,
    f.amount,
    f.refused_at,
from facts as f
where not exists (
    from silver.orders as o
    where
        o.created_at = f.created_at
        and o.source_id = f.source_id
        and o.buyer_id is not distinct from f.buyer_id
)
