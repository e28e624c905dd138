/*
grain   = "one row per order id whose newest observation the ingest refused, because it could not be typed"
key     = ["id"]
rebuild = "by key"
about   = "id"

# An older observation may be in silver.orders. An order without a readable id is in bronze.rejected only.
[columns]
id         = "BIGINT"          # id of the order in KeyCRM
source_id  = "BIGINT?"         # sales channel of the order; null if it can't be read
reason     = "VARCHAR"         # why the ingest refused it
amount     = "DECIMAL(18,2)?"  # grand_total in the order's currency; null if it can't be read
refused_at = "TIMESTAMPTZ"     # fetch time of the newest observation
*/
with refused as (
    select
        id,
        max(fetched_at) as refused_at,
        arg_max(reason, fetched_at) as reason,
        arg_max(if(json_valid(payload), payload, 'null'), fetched_at) as payload,
        -- A payload with bytes that are no text is stored with escapes, which are no JSON.
        arg_max(regexp_extract(payload, '"grand_total":\s*"?(-?\d+(\.\d+)?)', 1), fetched_at) as written_amount,
    from bronze.rejected
    where entity = 'orders' and id is not null
    group by id
),

accepted as (
    select
        id,
        max(fetched_at) as accepted_at,
    from bronze.orders
    where id in (select id from refused)
    group by id
)

select
    r.id,
    try_cast(r.payload ->> '$.source_id' as bigint) as source_id,
    r.reason,
    try_cast(if(r.payload = 'null', r.written_amount, r.payload ->> '$.grand_total') as decimal(18, 2)) as amount,
    r.refused_at,
from refused as r
left join accepted as a on a.id = r.id
where r.refused_at > coalesce(a.accepted_at, timestamptz '1970-01-01')
