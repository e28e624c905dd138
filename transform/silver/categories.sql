/*
grain   = "one row per category, in its newest observed state"
key     = ["id"]
rebuild = "whole"

[columns]
id          = "BIGINT"    # id of the category in KeyCRM
parent_id   = "BIGINT?"   # null if the category is a root
name        = "VARCHAR"   # name in KeyCRM
parent_name = "VARCHAR?"  # null if the category is a root or its parent was deleted
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
