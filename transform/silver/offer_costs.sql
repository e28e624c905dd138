/*
grain   = "one row per offer and span of days with the same observed purchase price"
key     = ["offer_id", "since_date"]
rebuild = "by key"

# The cost is unknown before the first observation of an offer, and after an observation without a price.
[columns]
offer_id        = "BIGINT"         # id of the offer in KeyCRM
since_date      = "DATE"           # first shop day that ended with this price
until_date      = "DATE?"          # first shop day that ended with another price or with none; null if the price is current
purchased_price = "DECIMAL(18,4)"  # money per unit

[checks]
spans_are_of_days = "until_date is null or until_date > since_date"
*/
with changes as (
    select offer_id, observed_date, purchased_price
    from silver.offer_days
    -- Deleting an offer does not change its cost, so tombstones are skipped.
    where not is_gone
    qualify purchased_price is distinct from lag(purchased_price) over (partition by offer_id order by observed_date)
),

spans as (
    select
        *,
        lead(observed_date) over (partition by offer_id order by observed_date) as until_date,
    from changes
)

select
    offer_id,
    observed_date as since_date,
    until_date,
    purchased_price,
from spans
where purchased_price is not null
