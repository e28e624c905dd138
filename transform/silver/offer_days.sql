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
quantity        = "DECIMAL(18,3)?"  # pieces in stock; null if KeyCRM gives none, or one above rules.limits (endless stock)
reserve         = "DECIMAL(18,3)?"  # pieces of the stock reserved for orders, may exceed it; null if KeyCRM gives none, or one above rules.limits
purchased_price = "DECIMAL(18,4)?"  # money per unit; null if KeyCRM gives none, or one above rules.limits
is_archived     = "BOOLEAN"         # true if the offer is archived in KeyCRM
is_gone         = "BOOLEAN"         # true if the offer was deleted in KeyCRM
observed_at     = "TIMESTAMPTZ"     # fetch time of the last observation on that day that changed the state
*/
with looks as (
    select
        *,
        (fetched_at at time zone 'Europe/Kyiv')::date as observed_date,
    from bronze.offers
    qualify row_number() over (partition by id, observed_date order by fetched_at desc) = 1
),

-- A number that can't be right is unknown, as in silver.offers.
credible as (
    select
        n.* replace (
            if(abs(n.quantity) <= m.largest_quantity, n.quantity, null) as quantity,
            if(abs(n.in_reserve) <= m.largest_quantity, n.in_reserve, null) as in_reserve,
            if(abs(n.purchased_price) <= m.largest_amount, n.purchased_price, null) as purchased_price
        ),
    from looks as n
    cross join rules.limits as m
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
from credible
