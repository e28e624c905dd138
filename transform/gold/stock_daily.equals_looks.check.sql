/*
fact = "offers, days and end-of-day quantities equal the observations in bronze (none if it is above rules.limits), with no row missing or extra"
*/
with looks as (
    select
        id as offer_id,
        (fetched_at at time zone 'Europe/Kyiv')::date as date,
        arg_max({'quantity': quantity, 'reserve': in_reserve, 'is_deleted': is_deleted}, fetched_at) as last,
        (select largest_quantity from rules.limits) as most,
    from bronze.offers
    group by all
)

select
    coalesce(l.date, g.date) as date,
    coalesce(l.offer_id, g.offer_id) as offer_id,
    l.last.quantity as expected,
    g.quantity as found,
from looks as l
full join gold.stock_daily as g on g.date = l.date and g.offer_id = l.offer_id
where
    l.offer_id is null
    or g.offer_id is null
    or (not l.last.is_deleted and if(abs(l.last.quantity) > l.most, null, l.last.quantity) is distinct from g.quantity)
    or (not l.last.is_deleted and if(abs(l.last.reserve) > l.most, null, l.last.reserve) is distinct from g.reserve)
    or (l.last.is_deleted and (g.quantity = 0 and g.reserve = 0 and g.is_gone) is not true)
