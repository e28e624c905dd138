/*
fact = "on every day with an observed state of an offer, its price equals that of the one span of the day, or both are missing"
*/
select
    d.offer_id,
    d.observed_date,
    max(d.purchased_price) as expected,
    max(c.purchased_price) as found,
from silver.offer_days as d
left join silver.offer_costs as c
    on c.offer_id = d.offer_id
    and d.observed_date >= c.since_date
    and d.observed_date < coalesce(c.until_date, date '9999-12-31')
where not d.is_gone
group by d.offer_id, d.observed_date
having count(c.offer_id) > 1 or max(d.purchased_price) is distinct from max(c.purchased_price)
