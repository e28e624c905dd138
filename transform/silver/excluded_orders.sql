/*
grain   = "one row per order of an excluded source that breaks no rule, in its newest observed state"
key     = ["id"]
rebuild = "by key"
about   = "order_id"
month   = "order_date"

# These orders add no revenue and no order count. They only separate new buyers from returning ones: a buyer whose
# first purchase is here does not count as new at an included source.
[columns]
id         = "BIGINT"       # id of the order in KeyCRM
source_id  = "BIGINT"       # source of the order, listed in rules.excluded_sources
buyer_id   = "BIGINT?"      # null if the order has no buyer card
is_return  = "BOOLEAN"      # true if rules.return_statuses or rules.return_status_groups lists the status
order_date = "DATE"         # shop day of the order (Europe/Kyiv)
ordered_at = "TIMESTAMPTZ"  # when the sale happened
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
    -- An order may have moved to an included source since.
    and source_id in (select source_id from rules.excluded_sources)
    and id not in (select order_id from silver.set_aside_orders)
