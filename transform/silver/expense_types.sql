/*
grain   = "one row per kind of expense, in the newest state KeyCRM has shown"
key     = ["id"]
rebuild = "by key"

[columns]
id       = "BIGINT"
name     = "VARCHAR?"
is_active = "BOOLEAN"
*/
with newest as (
    select *
    from bronze.expense_types
    qualify row_number() over (partition by id order by fetched_at desc) = 1
)

select
    id,
    -- A built-in type is named by the key of its translation.
    replace(coalesce(name, alias), 'dictionaries.expense_types.', '') as name,
    coalesce(is_active, true) as is_active,
from newest
where not is_deleted
