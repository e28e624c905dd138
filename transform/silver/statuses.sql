/*
grain   = "one row per status an order can be in, in the newest state KeyCRM has shown"
key     = ["id"]
rebuild = "by key"

[columns]
id         = "BIGINT"
group_id   = "BIGINT?"                 # 1 new, 2 approval, 3 production, 4 delivery, 5 completed, 6 cancelled
name       = "VARCHAR?"                # a built-in status is named by its alias
is_closing = "BOOLEAN"
*/
with newest as (
    select *
    from bronze.statuses
    qualify row_number() over (partition by id order by fetched_at desc) = 1
)

select
    id,
    group_id,
    name,
    coalesce(is_closing_order, false) as is_closing,
from newest
where not is_deleted
