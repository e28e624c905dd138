/*
grain   = "one row per shop day and status that orders left on that day"
key     = ["date", "status_id"]
rebuild = "whole"

# Of orders of the sources that count. When a stay began and ended is said in silver.order_status_history; one that
# goes on is in no row.
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

-- A ten thousandth of an hour is 360,000 microseconds: whole numbers, half away from zero.
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
