/*
fact = "a buyer with a later, higher or more frequent value has no lower score, and equal values have equal scores"
*/
with recency as (
    select recency_days, min(recency_score) as least, max(recency_score) as most
    from gold.customer_rfm
    where recency_days > 0
    group by recency_days
),

frequency as (
    select frequency, min(frequency_score) as least, max(frequency_score) as most
    from gold.customer_rfm
    group by frequency
),

monetary as (
    select monetary, min(monetary_score) as least, max(monetary_score) as most
    from gold.customer_rfm
    group by monetary
)

select 'recency' as what, recency_days::varchar as at
from recency
qualify least <> most or most > lag(least) over (order by recency_days)
union all
select 'frequency', frequency::varchar
from frequency
qualify least <> most or most < lag(least) over (order by frequency)
union all
select 'monetary', monetary::varchar
from monetary
qualify least <> most or most < lag(least) over (order by monetary)
