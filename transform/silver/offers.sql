/*
grain   = "one row per offer (a variant that can be sold), in its newest observed state"
key     = ["id"]
rebuild = "by key"

[columns]
id              = "BIGINT"          # id of the offer in KeyCRM
product_id      = "BIGINT?"         # product of the offer; null if KeyCRM gives none
sku             = "VARCHAR?"        # article number; null if the offer has none
price           = "DECIMAL(18,2)?"  # ₴ per unit, today's selling price; null if KeyCRM gives none
purchased_price = "DECIMAL(18,2)?"  # ₴ per unit, today's cost; null if KeyCRM gives none
quantity        = "DECIMAL(18,3)?"  # pieces in stock; null if KeyCRM gives none
reserve         = "DECIMAL(18,3)?"  # pieces of the stock reserved for orders, may exceed it; null if KeyCRM gives none
is_archived     = "BOOLEAN"         # true if the offer is archived in KeyCRM
observed_at     = "TIMESTAMPTZ"     # fetch time of the newest observation
*/
with newest as (
    select *
    from bronze.offers
    qualify row_number() over (partition by id order by fetched_at desc) = 1
)

select
    id,
    product_id,
    sku,
    price::decimal(18, 2) as price,
    purchased_price::decimal(18, 2) as purchased_price,
    quantity,
    in_reserve as reserve,
    coalesce(is_archived, false) as is_archived,
    fetched_at as observed_at,
from newest
where not is_deleted
