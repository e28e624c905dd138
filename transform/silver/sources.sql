/*
grain   = "one row per source (a sales channel), in its newest observed state"
key     = ["id"]
rebuild = "by key"

[columns]
id            = "BIGINT"    # id of the source in KeyCRM
name          = "VARCHAR?"  # name in KeyCRM; null if it has none
driver        = "VARCHAR?"  # kind of integration; null if KeyCRM gives none
currency_code = "VARCHAR?"  # currency of the amounts of its orders, in capital letters; null if KeyCRM gives none
*/
with newest as (
    select *
    from bronze.sources
    qualify row_number() over (partition by id order by fetched_at desc) = 1
)

select
    id,
    name,
    driver,
    nullif(upper(trim(currency_code)), '') as currency_code,
from newest
where not is_deleted
