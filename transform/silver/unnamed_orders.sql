/*
grain   = "one row per order that the ingest refused because its id can't be read, if no accepted order is known to be it"
key     = ["content"]
rebuild = "whole"

# Without a readable id, its creation time, source, buyer and the source's own id distinguish an order from others; without a
# readable creation time, only its content does. It is known by now if an accepted order has the same creation time, source,
# buyer and total. It stays here if the CRM deletes it, because nothing names it.
[columns]
content    = "VARCHAR"         # hash of its newest payload
source_id  = "BIGINT?"         # sales channel of the order; null if it can't be read
reason     = "VARCHAR"         # why the ingest refused it
amount     = "DECIMAL(18,2)?"  # grand_total in the order's currency; null if it can't be read
refused_at = "TIMESTAMPTZ"     # fetch time of the newest observation
*/
with facts as (
    select
        payload_hash,
        fetched_at,
        reason,
        if(json_valid(payload), payload, 'null') as json,
        try_cast(json ->> '$.source_id' as bigint) as source_id,
        try_cast(json ->> '$.created_at' as timestamptz) as created_at,
        try_cast(coalesce(json ->> '$.client_id', json ->> '$.buyer.id') as bigint) as buyer_id,
        json ->> '$.source_uuid' as source_uuid,
        try_cast(
            -- A payload with bytes that are no text is stored with escapes, which are no JSON.
            if(
                json = 'null', regexp_extract(payload, '"grand_total":\s*"?(-?\d+(\.\d+)?)', 1), json ->> '$.grand_total'
            ) as decimal(18, 2)
        ) as amount,
    from bronze.rejected
    where entity = 'orders' and id is null
),

newest as (
    select *
    from facts
    qualify row_number() over (
        partition by created_at, source_id, buyer_id, source_uuid, if(created_at is null, payload_hash, '')
        order by fetched_at desc, payload_hash
    ) = 1
)

select
    n.payload_hash as content,
    n.source_id,
    n.reason,
    n.amount,
    n.fetched_at as refused_at,
from newest as n
where not exists (
    from silver.orders as o
    where
        o.created_at = n.created_at
        and o.source_id = n.source_id
        and o.buyer_id is not distinct from n.buyer_id
        and o.grand_total = n.amount
)
