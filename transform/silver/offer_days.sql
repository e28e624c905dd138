/*
grain   = "one row per offer and shop day on which something new was seen of it: its state at that day's end"
key     = ["offer_id", "observed_date"]
rebuild = "by key"
month   = "observed_date"

# A day without a row is a day without news: the offer's last row before it still holds.
[columns]
offer_id        = "BIGINT"
product_id      = "BIGINT?"
observed_date   = "DATE"               # the shop's day of the look, Europe/Kyiv
quantity        = "DECIMAL(18,3)?"     # in stock
reserve         = "DECIMAL(18,3)?"     # of these promised to orders; may exceed the stock
purchased_price = "DECIMAL(18,4)?"     # per unit
is_archived     = "BOOLEAN"
is_gone         = "BOOLEAN"            # the CRM no longer has it
observed_at     = "TIMESTAMPTZ"        # the day's last look that had news
*/
with looks as (
    select
        *,
        (fetched_at at time zone 'Europe/Kyiv')::date as observed_date,
    from bronze.offers
)

select
    id as offer_id,
    product_id,
    observed_date,
    quantity,
    in_reserve as reserve,
    purchased_price,
    coalesce(is_archived, false) as is_archived,
    is_deleted as is_gone,
    fetched_at as observed_at,
from looks
qualify row_number() over (partition by id, observed_date order by fetched_at desc) = 1
