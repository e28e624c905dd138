/*
grain   = "one row per offer and span of days in which it was seen to cost the same"
key     = ["offer_id", "since_date"]
rebuild = "by key"

# What was before the first look is not known, nor what is between a look that shows no price and one that does.
[columns]
offer_id        = "BIGINT"
since_date      = "DATE"               # the first shop day that ended with this price
until_date      = "DATE?"              # the first that ended with another, or with none; null: it still holds
purchased_price = "DECIMAL(18,4)"      # per unit

[checks]
spans_are_of_days = "until_date is null or until_date > since_date"
*/
with changes as (
    select offer_id, observed_date, purchased_price
    from silver.offer_days
    -- An offer that is gone cost what it cost.
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
