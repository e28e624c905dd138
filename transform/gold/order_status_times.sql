/*
grain   = "one row per shop day and status that orders left on that day"
key     = ["date", "status_id"]
rebuild = "whole"

# Of orders of the sources that count. A stay is from one change to the next as the CRM stamped them; where it gave no
# new stamp for one of the two, or an older one, it is from the look that first saw the status to the one that saw
# another: never from a stamp to a look, which are of two clocks. A status that came and went between two looks was
# not seen, and a stay that goes on is in no row.
[columns]
date          = "DATE"                 # the shop's day, Europe/Kyiv
status_id     = "BIGINT"
status_name   = "VARCHAR?"
stays_count   = "BIGINT"               # adds up over all
hours         = "DECIMAL(18,4)"        # of all stays together; adds up over all
avg_hours     = "DECIMAL(18,4)"        # does not add up: of a longer span it is hours / stays_count
median_hours  = "DECIMAL(18,4)"        # the lower one of two; does not add up
longest_hours = "DECIMAL(18,4)"        # of a longer span it is the greatest

[checks]
hours_are_not_negative = "hours >= 0 and median_hours >= 0"
longest_is_longest     = "longest_hours >= median_hours and hours >= longest_hours"
*/
with spans as (
    select
        order_id,
        status_id,
        since,
        until,
        -- A change may leave the stamp of the change before it.
        case
            when lag(since) over by_order is null or changed_at > lag(changed_at) over by_order then changed_at
        end as changed_at,
    from silver.order_status_history
    window by_order as (partition by order_id order by since)
),

ended as (
    select
        *,
        -- Null where the order was gone after it.
        case when lead(since) over by_order = until then lead(changed_at) over by_order end as changed_after,
    from spans
    window by_order as (partition by order_id order by since)
),

stays as (
    select
        status_id,
        if(changed_after > changed_at, changed_at, since) as entered_at,
        if(changed_after > changed_at, changed_after, until) as left_at,
    from ended
    where
        until is not null
        and order_id not in (select id from silver.excluded_orders)
),

days as (
    select
        (left_at at time zone 'Europe/Kyiv')::date as date,
        status_id,
        count(*) as stays_count,
        sum(date_diff('second', entered_at, left_at))::hugeint as seconds,
        quantile_disc(date_diff('second', entered_at, left_at), 0.5) as median_seconds,
        max(date_diff('second', entered_at, left_at)) as longest_seconds,
    from stays
    group by all
)

-- An hour is 3600 seconds, a ten thousandth of it 0.36: whole numbers, half away from zero.
select
    d.date,
    d.status_id,
    s.name as status_name,
    d.stays_count,
    ((100 * d.seconds + 18) // 36 * 0.0001)::decimal(18, 4) as hours,
    ((200 * d.seconds + 36 * d.stays_count) // (72 * d.stays_count) * 0.0001)::decimal(18, 4) as avg_hours,
    ((100 * d.median_seconds + 18) // 36 * 0.0001)::decimal(18, 4) as median_hours,
    ((100 * d.longest_seconds + 18) // 36 * 0.0001)::decimal(18, 4) as longest_hours,
from days as d
left join silver.statuses as s on s.id = d.status_id
