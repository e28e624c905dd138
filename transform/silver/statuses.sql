/*
grain   = "one row per order status, in its newest observed state"
key     = ["id"]
rebuild = "by key"

[columns]
id         = "BIGINT"    # id of the status in KeyCRM
group_id   = "BIGINT?"   # 1 new, 2 approval, 3 production, 4 delivery, 5 completed, 6 cancelled; null if KeyCRM gives none
name       = "VARCHAR?"  # name in KeyCRM, or the alias of a built-in status; null if it has neither
is_closing = "BOOLEAN"   # true if the status closes the order
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
