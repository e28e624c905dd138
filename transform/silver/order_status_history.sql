/*
grain     = "one row per status an order was seen in, from when to when"
key       = ["order_id", "since"]
rebuild   = "by key"
partition = "created_date"
width     = "week"

# A stay is from one change to the next as the CRM stamped them. Where it gave no new stamp for one of the two, or an
# older one, it is from the look that first saw the status to the one that saw another: never from a stamp to a look,
# which are of two clocks. A status that came and went between two looks was not seen.
[columns]
order_id     = "BIGINT"
status_id    = "BIGINT"
created_date = "DATE"                 # the shop's day on which the CRM got the order
since        = "TIMESTAMPTZ"          # the first look that showed it
until        = "TIMESTAMPTZ?"         # the first look that showed another, or no order; null: still in it
changed_at   = "TIMESTAMPTZ?"         # when the CRM says the change was made
entered_at   = "TIMESTAMPTZ"          # when the stay began; of one that goes on, the look
left_at      = "TIMESTAMPTZ?"         # when it ended; null: still in it
left_date    = "DATE?"                # the shop's day of that, Europe/Kyiv

[checks]
stay_goes_forward = "left_at is null or left_at >= entered_at"
stay_ends_as_seen = "(left_at is null) = (until is null) and (left_date is null) = (until is null)"
*/
with looks as (
    select
        id as order_id,
        -- An order that is gone is in no status.
        case when not is_deleted then status_id end as status_id,
        case when not is_deleted then status_changed_at end as status_changed_at,
        -- A tombstone says nothing of the order but that it is gone.
        (min(created_at) over (partition by id) at time zone 'Europe/Kyiv')::date as created_date,
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
        lead(fetched_at) over by_order as until,
        -- A change may leave the stamp of the change before it.
        case
            when lag(fetched_at) over by_order is null or status_changed_at > lag(status_changed_at) over by_order
                then status_changed_at
        end as stamp,
    from changes
    window by_order as (partition by order_id order by fetched_at)
),

stays as (
    select
        *,
        coalesce(lead(stamp) over (partition by order_id order by fetched_at) > stamp, false) as is_stamped,
        lead(stamp) over (partition by order_id order by fetched_at) as next_stamp,
    from spans
)

select
    order_id,
    status_id,
    coalesce(created_date, date '1970-01-01') as created_date,
    fetched_at as since,
    until,
    status_changed_at as changed_at,
    if(is_stamped, stamp, fetched_at) as entered_at,
    if(is_stamped, next_stamp, until) as left_at,
    (if(is_stamped, next_stamp, until) at time zone 'Europe/Kyiv')::date as left_date,
from stays
where status_id is not null
