/*
grain   = "one row per type of expense, in its newest observed state"
key     = ["id"]
rebuild = "by key"

[columns]
id        = "BIGINT"    # id of the type in KeyCRM
name      = "VARCHAR?"  # name in KeyCRM, or the key of a built-in type; null if it has neither
is_active = "BOOLEAN"   # false if the type is switched off in KeyCRM
*/
with newest as (
    select *
    from bronze.expense_types
    qualify row_number() over (partition by id order by fetched_at desc) = 1
)

select
    id,
    -- The name of a built-in type is a translation key; keep its last part.
    replace(coalesce(name, alias), 'dictionaries.expense_types.', '') as name,
    coalesce(is_active, true) as is_active,
from newest
where not is_deleted
