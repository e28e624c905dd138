/*
grain   = "one row per shop day and status that orders left on that day"
key     = ["date", "status_id"]
rebuild = "whole"

# Covers orders of included sources. silver.order_status_history defines when a stay begins and ends. Open stays are
# excluded.
[columns]
date          = "DATE"           # shop day on which the stays ended (Europe/Kyiv)
status_id     = "BIGINT"         # status that the orders left
status_name   = "VARCHAR?"       # null if KeyCRM does not list the status
stays_count   = "BIGINT"         # number of stays that ended; adds up over days and statuses
hours         = "DECIMAL(18,4)"  # hours, all stays together; adds up over days and statuses
avg_hours     = "DECIMAL(18,4)"  # hours per stay: hours / stays_count; does not add up, recompute it for a longer span
median_hours  = "DECIMAL(18,4)"  # hours, the lower middle value if stays_count is even; does not add up
longest_hours = "DECIMAL(18,4)"  # hours, the longest stay; does not add up, take the maximum for a longer span

[checks]
hours_are_not_negative = "hours >= 0 and median_hours >= 0"
longest_is_longest     = "longest_hours >= median_hours and hours >= longest_hours"
*/
with stays as (
    select
        left_date as date,
        status_id,
        epoch_us(left_at) - epoch_us(entered_at) as micros,
    from silver.order_status_history
    where
        left_date is not null
        and order_id not in (select id from silver.excluded_orders)
),

days as (
    select
        date,
        status_id,
        count(*) as stays_count,
        sum(micros)::hugeint as micros,
        quantile_disc(micros, 0.5) as median_micros,
        max(micros) as longest_micros,
    from stays
    group by all
)

-- 0.0001 hours are 360,000 microseconds. Integer division, rounded half away from zero.
select
    d.date,
    d.status_id,
    s.name as status_name,
    d.stays_count,
    (((d.micros + 180000) // 360000)::bigint * 0.0001)::decimal(18, 4) as hours,
    (
        ((2 * d.micros + 360000 * d.stays_count) // (720000 * d.stays_count))::bigint * 0.0001
    )::decimal(18, 4) as avg_hours,
    (((d.median_micros + 180000) // 360000) * 0.0001)::decimal(18, 4) as median_hours,
    (((d.longest_micros + 180000) // 360000) * 0.0001)::decimal(18, 4) as longest_hours,
from days as d
left join silver.statuses as s on s.id = d.status_id
