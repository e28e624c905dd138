/*
grain   = "one row per status an order was seen in, from when to when"
key     = ["order_id", "since"]
rebuild = "by key"

[columns]
order_id  = "BIGINT"
status_id = "BIGINT"
since     = "TIMESTAMPTZ"              # the first look that showed it
until     = "TIMESTAMPTZ?"             # the first look that showed another, or no order; null: still in it
changed_at = "TIMESTAMPTZ?"            # when the CRM says the change was made
*/
with looks as (
    select
        id as order_id,
        -- An order that is gone is in no status.
        case when not is_deleted then status_id end as status_id,
        status_changed_at,
        fetched_at,
    from bronze.orders
),

changes as (
    select *
    from looks
    qualify status_id is distinct from lag(status_id) over (partition by order_id order by fetched_at)
),

spans as (
    select
        *,
        lead(fetched_at) over (partition by order_id order by fetched_at) as until,
    from changes
)

select
    order_id,
    status_id,
    fetched_at as since,
    until,
    status_changed_at as changed_at,
from spans
where status_id is not null
