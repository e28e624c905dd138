/*
grain   = "one row per manager (user account), in its newest observed state"
key     = ["id"]
rebuild = "by key"

[columns]
id         = "BIGINT"        # id of the user in KeyCRM
name       = "VARCHAR?"      # full name, else first and last name, else login; null if all are empty
status     = "VARCHAR?"      # active, pending or blocked; null if KeyCRM gives none
created_at = "TIMESTAMPTZ?"  # when the user was created; null if KeyCRM gives no time
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
