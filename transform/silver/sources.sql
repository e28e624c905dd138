/*
grain   = "one row per channel that orders come from, in the newest state KeyCRM has shown"
key     = ["id"]
rebuild = "by key"

[columns]
id            = "BIGINT"
name          = "VARCHAR?"
driver        = "VARCHAR?"             # what kind of integration it is
currency_code = "VARCHAR?"
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
    currency_code,
from newest
where not is_deleted
