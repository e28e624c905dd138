/*
grain   = "one row per shop day and offer on which its observed state changed: the state at the end of that day"
key     = ["date", "offer_id"]
rebuild = "by month"
month   = "date"
money   = "value"

# Between two rows of an offer the earlier one applies. The stock at the end of a day is each offer's last row up to
# that day:
#   select sum(value) from (from gold.stock_daily
#       where date <= '2026-06-30' qualify row_number() over (partition by offer_id order by date desc) = 1)
# Nothing adds up over days. The stock before the first observation of an offer is unknown.
[columns]
date            = "DATE"            # shop day of the observation (Europe/Kyiv)
offer_id        = "BIGINT"          # id of the offer in KeyCRM
product_id      = "BIGINT?"         # null if KeyCRM gives none, as for most deleted offers
product_name    = "VARCHAR?"        # null if the catalogue does not have the product
category_id     = "BIGINT?"         # category of today; null if the product has none or is not in the catalogue
quantity        = "DECIMAL(18,3)?"  # pieces in stock, 0 if the offer was deleted; adds up over offers; null if KeyCRM gives none, or one above rules.limits
reserve         = "DECIMAL(18,3)?"  # pieces reserved, may exceed quantity; adds up over offers; null if KeyCRM gives none, or one above rules.limits
available       = "DECIMAL(18,3)?"  # pieces, quantity - reserve, at least 0; adds up over offers; null if quantity is null
purchased_price = "DECIMAL(18,4)?"  # money per unit on that day; does not add up; null if KeyCRM gives none, or one above rules.limits
value           = "DECIMAL(18,2)?"  # money, quantity x purchased_price; adds up over offers; null if a factor is null, 0 if quantity is 0
is_gone         = "BOOLEAN"         # true if the offer was archived or deleted in KeyCRM
*/
with days as (
    select
        *,
        if(is_gone, 0, quantity)::decimal(18, 3) as held,
        if(is_gone, 0, reserve)::decimal(18, 3) as promised,
    from silver.offer_days
)

select
    d.observed_date as date,
    d.offer_id,
    d.product_id,
    p.name as product_name,
    p.category_id,
    d.held as quantity,
    d.promised as reserve,
    if(d.held < coalesce(d.promised, 0), 0, d.held - coalesce(d.promised, 0))::decimal(18, 3) as available,
    d.purchased_price,
    try_cast(if(d.held = 0, 0, d.held * d.purchased_price::decimal(38, 4)) as decimal(18, 2)) as value,
    d.is_gone or d.is_archived as is_gone,
from days as d
left join silver.products as p on p.id = d.product_id
