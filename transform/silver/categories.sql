/*
grain   = "one row per category, in the newest state KeyCRM has shown"
key     = ["id"]
rebuild = "by key"

[columns]
id        = "BIGINT"
parent_id = "BIGINT?"                  # null: a root
name      = "VARCHAR"
*/
with newest as (
    select *
    from bronze.categories
    qualify row_number() over (partition by id order by fetched_at desc) = 1
)

select
    id,
    parent_id,
    name,
from newest
where not is_deleted
