/*
grain   = "one row per category, in the newest state KeyCRM has shown"
key     = ["id"]
rebuild = "whole"

[columns]
id          = "BIGINT"
parent_id   = "BIGINT?"                # null: a root
name        = "VARCHAR"
parent_name = "VARCHAR?"               # null: a root, or its parent is gone
*/
with newest as (
    select *
    from bronze.categories
    qualify row_number() over (partition by id order by fetched_at desc) = 1
),

alive as (
    select *
    from newest
    where not is_deleted
)

select
    c.id,
    c.parent_id,
    c.name,
    p.name as parent_name,
from alive as c
left join alive as p on p.id = c.parent_id
