/*
grain     = "one row per order and stay in a status"
key       = ["order_id", "since"]
rebuild   = "by key"
partition = "created_date"
width     = "week"

# A stay runs from one status change to the next, by KeyCRM's timestamps of the changes. If either change has no
# timestamp, or none newer than the change before it, the stay runs between observations: from the first that showed
# the status to the first that showed another. A stay never mixes KeyCRM's clock with the clock of observations.
# A status that began and ended between two observations has no row.
[columns]
order_id     = "BIGINT"        # id of the order in KeyCRM
status_id    = "BIGINT"        # status of the order during the stay
created_date = "DATE"          # shop day on which KeyCRM received the order; 1970-01-01 if unknown or not of 2000 to 2099
since        = "TIMESTAMPTZ"   # first observation that showed the status
until        = "TIMESTAMPTZ?"  # first observation that showed another status or no order; null if the stay is open
changed_at   = "TIMESTAMPTZ?"  # KeyCRM's time of the status change, may be that of an earlier change; null if it gives none of 2000 to 2099
entered_at   = "TIMESTAMPTZ"   # start of the stay; equals since if the stay is open
left_at      = "TIMESTAMPTZ?"  # end of the stay; null if the stay is open
left_date    = "DATE?"         # shop day of left_at (Europe/Kyiv); null if the stay is open

[checks]
stay_goes_forward = "left_at is null or left_at >= entered_at"
stay_ends_as_seen = "(left_at is null) = (until is null) and (left_date is null) = (until is null)"
*/
with looks as (
    select
        id as order_id,
        -- A deleted order is in no status.
        case when not is_deleted then status_id end as status_id,
        case
            when not is_deleted and status_changed_at between timestamptz '2000-01-01' and timestamptz '2099-12-31'
                then status_changed_at
        end as status_changed_at,
        -- A tombstone may lack created_at; take it from the order's other observations.
        (
            min(created_at) filter (where created_at between timestamptz '2000-01-01' and timestamptz '2099-12-31')
                over (partition by id) at time zone 'Europe/Kyiv'
        )::date as created_date,
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
        -- KeyCRM may leave the timestamp of an earlier change; ignore it unless it is newer than all before it.
        case
            when
                lag(fetched_at) over by_order is null
                or (
                    status_changed_at > lag(status_changed_at) over by_order
                    and status_changed_at >= max(status_changed_at) over earlier
                )
                then status_changed_at
        end as stamp,
    from changes
    window
        by_order as (partition by order_id order by fetched_at),
        earlier as (partition by order_id order by fetched_at rows between unbounded preceding and 1 preceding)
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
