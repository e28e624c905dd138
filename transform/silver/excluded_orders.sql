/*
grain   = "one row per order of the sources that are left out, in the newest state KeyCRM has shown"
key     = ["id"]
rebuild = "by key"
about   = "order_id"
month   = "order_date"

# No revenue and no order that counts; who bought here first is no new buyer elsewhere.
[columns]
id         = "BIGINT"
source_id  = "BIGINT"
buyer_id   = "BIGINT?"
is_return  = "BOOLEAN"
order_date = "DATE"                 # the shop's day, Europe/Kyiv
ordered_at = "TIMESTAMPTZ"
*/
with ever as (
    select distinct id
    from bronze.orders
    where source_id in (select source_id from rules.excluded_sources)
),

newest as (
    select *
    from bronze.orders
    where id in (select id from ever)
    qualify row_number() over (partition by id order by fetched_at desc) = 1
)

select
    id,
    source_id,
    buyer_id,
    (
        status_id in (select status_id from rules.return_statuses)
        or coalesce(status_group_id in (select status_group_id from rules.return_status_groups), false)
    ) as is_return,
    (ordered_at at time zone 'Europe/Kyiv')::date as order_date,
    ordered_at,
from newest
where
    not is_deleted
    -- An order may have moved to a source that counts.
    and source_id in (select source_id from rules.excluded_sources)
