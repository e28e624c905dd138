/*
grain     = "one row per buyer's card, in the newest state KeyCRM has shown"
key       = ["id"]
rebuild   = "by key"
partition = "created_date"

[columns]
id           = "BIGINT"
name         = "VARCHAR?"
birthday     = "VARCHAR?"
phones       = "VARCHAR[]"
emails       = "VARCHAR[]"
created_date = "DATE"                 # the shop's day on which the card was made; 1970-01-01 where the CRM does not say
created_at   = "TIMESTAMPTZ?"
updated_at   = "TIMESTAMPTZ?"
*/
with newest as (
    select *
    from bronze.buyers
    qualify row_number() over (partition by id order by fetched_at desc) = 1
)

select
    id,
    full_name as name,
    birthday,
    phone as phones,
    email as emails,
    coalesce((created_at at time zone 'Europe/Kyiv')::date, date '1970-01-01') as created_date,
    created_at,
    updated_at,
from newest
where not is_deleted
