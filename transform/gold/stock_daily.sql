/*
grain   = "one row per shop day and offer on which something new was seen of its stock: the state at that day's end"
key     = ["date", "offer_id"]
rebuild = "by month"
month   = "date"
money   = "value"

# Between two rows of an offer the earlier one holds. The stock at the end of any day is each offer's last row until then:
#   select sum(value) from (from gold.stock_daily where date <= '2026-06-30'
#       qualify row_number() over (partition by offer_id order by date desc) = 1)
# Nothing adds up over days. What was before the first look at an offer is not known.
[columns]
date            = "DATE"
offer_id        = "BIGINT"
product_id      = "BIGINT?"            # null: the CRM doesn't say; or the offer is gone, and is not in its last look
product_name    = "VARCHAR?"
category_id     = "BIGINT?"
quantity        = "DECIMAL(18,3)?"     # in stock; 0 of an offer that is gone; adds up over offers
reserve         = "DECIMAL(18,3)?"     # of these promised to orders; may exceed the stock; adds up over offers
available       = "DECIMAL(18,3)?"     # quantity - reserve, not less than nothing; adds up over offers
purchased_price = "DECIMAL(18,4)?"     # per unit, as seen on that day; does not add up
value           = "DECIMAL(18,2)?"     # quantity x purchased_price; adds up over offers; null: not known
is_gone         = "BOOLEAN"            # archived, or the CRM no longer has it
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
    if(d.held = 0, 0, d.held * d.purchased_price)::decimal(18, 2) as value,
    d.is_gone or d.is_archived as is_gone,
from days as d
left join silver.products as p on p.id = d.product_id
