/*
fact = "the last day of every offer shows the state in silver.offers, and a deleted offer is not in silver.offers"
*/
with last_days as (
    select
        offer_id,
        max(observed_date) as observed_date,
    from silver.offer_days
    group by offer_id
),

found as (
    select d.offer_id as id, d.quantity, d.reserve, d.observed_at
    from silver.offer_days as d
    semi join last_days as l on l.offer_id = d.offer_id and l.observed_date = d.observed_date
    where not d.is_gone
),

expected as (
    select id, quantity, reserve, observed_at
    from silver.offers
)

select id, 'not in silver.offers' as reason
from (from found except all from expected)
union all
select id, 'not in silver.offer_days'
from (from expected except all from found)
