/*
grain   = "one row per offer (a variant that can be sold), in its newest observed state"
key     = ["id"]
rebuild = "by key"

[columns]
id              = "BIGINT"          # id of the offer in KeyCRM
product_id      = "BIGINT?"         # product of the offer; null if KeyCRM gives none
sku             = "VARCHAR?"        # article number; null if the offer has none
price           = "DECIMAL(18,2)?"  # money per unit, today's selling price; null if KeyCRM gives none
purchased_price = "DECIMAL(18,2)?"  # money per unit, today's cost; null if KeyCRM gives none, or one above rules.limits
quantity        = "DECIMAL(18,3)?"  # pieces in stock; null if KeyCRM gives none, or one above rules.limits (endless stock)
reserve         = "DECIMAL(18,3)?"  # pieces of the stock reserved for orders, may exceed it; null if KeyCRM gives none, or one above rules.limits
is_archived     = "BOOLEAN"         # true if the offer is archived in KeyCRM
observed_at     = "TIMESTAMPTZ"     # fetch time of the newest observation
*/
with newest as (
    select *
    from bronze.offers
    qualify row_number() over (partition by id order by fetched_at desc) = 1
),

-- A number that can't be right is unknown: the offer stays, its number does not count.
credible as (
    select
        n.* replace (
            if(abs(n.quantity) <= m.largest_quantity, n.quantity, null) as quantity,
            if(abs(n.in_reserve) <= m.largest_quantity, n.in_reserve, null) as in_reserve,
            if(abs(n.purchased_price) <= m.largest_amount, n.purchased_price, null) as purchased_price
        ),
    from newest as n
    cross join rules.limits as m
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
from credible
where not is_deleted
