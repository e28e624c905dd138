/*
grain   = "one row per user of the CRM, in the newest state KeyCRM has shown"
key     = ["id"]
rebuild = "by key"

[columns]
id         = "BIGINT"
name       = "VARCHAR?"
status     = "VARCHAR?"                # active, pending, blocked
created_at = "TIMESTAMPTZ?"
*/
with newest as (
    select *
    from bronze.managers
    qualify row_number() over (partition by id order by fetched_at desc) = 1
)

select
    id,
    coalesce(
        nullif(trim(full_name), ''),
        nullif(trim(concat_ws(' ', first_name, last_name)), ''),
        username
    ) as name,
    status,
    created_at,
from newest
where not is_deleted
