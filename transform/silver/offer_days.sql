/*
grain   = "one row per offer and shop day on which its observed state changed: the state at the end of that day"
key     = ["offer_id", "observed_date"]
rebuild = "by key"
month   = "observed_date"

# If an offer has no row for a day, its state did not change: its last row before that day still applies.
[columns]
offer_id        = "BIGINT"          # id of the offer in KeyCRM
product_id      = "BIGINT?"         # product of the offer; null if KeyCRM gives none
observed_date   = "DATE"            # shop day of the observation (Europe/Kyiv)
quantity        = "DECIMAL(18,3)?"  # pieces in stock; null if KeyCRM gives none
reserve         = "DECIMAL(18,3)?"  # pieces of the stock reserved for orders, may exceed it; null if KeyCRM gives none
purchased_price = "DECIMAL(18,4)?"  # ₴ per unit; null if KeyCRM gives none
is_archived     = "BOOLEAN"         # true if the offer is archived in KeyCRM
is_gone         = "BOOLEAN"         # true if the offer was deleted in KeyCRM
observed_at     = "TIMESTAMPTZ"     # fetch time of the last observation on that day that changed the state
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
