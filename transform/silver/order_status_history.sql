/*
grain   = "one row per status an order was seen in, from when to when"
key     = ["order_id", "since"]
rebuild = "by key"

[columns]
order_id  = "BIGINT"
status_id = "BIGINT"
since     = "TIMESTAMPTZ"              # the first look that showed it
until     = "TIMESTAMPTZ?"             # the first look that showed another; null: still in it
changed_at = "TIMESTAMPTZ?"            # when the CRM says the change was made
*/
with looks as (
    select
        id as order_id,
        status_id,
        status_changed_at,
        fetched_at,
        lag(status_id) over (partition by id order by fetched_at) as status_before,
    from bronze.orders
    where not is_deleted
),

changes as (
    select *
    from looks
    where status_id is distinct from status_before
)

select
    order_id,
    status_id,
    fetched_at as since,
    lead(fetched_at) over (partition by order_id order by fetched_at) as until,
    status_changed_at as changed_at,
from changes
