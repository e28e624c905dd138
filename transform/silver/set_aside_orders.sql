/*
grain   = "one row per order that breaks a rule in its newest observed state and is therefore in no number"
key     = ["order_id"]
rebuild = "by key"

# One odd order costs only itself: it is left out of silver.orders, and so of its lines, expenses and all of gold,
# until a newer observation breaks no rule. Orders of excluded sources add nothing to gold but the day of a purchase, so
# only the rule about days applies to them. The rules, in the order in which they are tried:
#   day_is_within_reason           the order is of 2000 to 2099
#   total_is_not_negative          grand_total >= 0
#   price_is_not_negative          no line is sold at a negative price
#   quantity_is_within_limits      no line has more pieces than [rules] largest_quantity
#   amount_is_within_limits        no total, price or line total is above [rules] largest_amount
#   currency_has_rate              the source's currency is the shop's, or [rules] rates has its rate of that day
[columns]
order_id   = "BIGINT"         # id of the order in KeyCRM
source_id  = "BIGINT"         # sales channel of the order
status_id  = "BIGINT"         # current status
buyer_id   = "BIGINT?"        # null if the order has no buyer card
rule       = "VARCHAR"        # the first rule that the order breaks
order_date = "DATE"           # shop day of ordered_at (Europe/Kyiv)
amount     = "DECIMAL(18,2)"  # grand_total in the order's currency; 0 if the source is excluded, whose orders add nothing
currency   = "VARCHAR"        # currency code of the source; the shop's currency if KeyCRM gives none
ordered_at = "TIMESTAMPTZ"    # when the sale happened, as KeyCRM gives it
since      = "TIMESTAMPTZ"    # fetch time of the newest observation, from which the order is set aside in this state
*/
with newest as (
    select id, source_id, status_id, buyer_id, grand_total, ordered_at, is_deleted, fetched_at
    from bronze.orders
    qualify row_number() over (partition by id order by fetched_at desc) = 1
),

alive as (
    select
        n.*,
        -- The last evening of 9999 is of the year 10000 in Kyiv, which few programs can read.
        least((n.ordered_at at time zone 'Europe/Kyiv')::date, date '9999-12-31') as order_date,
        coalesce(n.source_id in (select source_id from rules.excluded_sources), false) as is_excluded,
        c.currency as shop_currency,
        m.largest_amount,
        m.largest_quantity,
    from newest as n
    cross join rules.currency as c
    cross join rules.limits as m
    where not n.is_deleted
),

-- A double can't overflow; its error is far below any limit.
lines as (
    select
        o.id as order_id,
        min(coalesce(l.price_sold, l.price)) as least_price,
        max(abs(l.quantity)) as most_quantity,
        max(greatest(abs(l.price), abs(l.price_sold), abs(coalesce(l.price_sold, l.price)::double * l.quantity::double)))
            as most_amount,
    from alive as o
    join bronze.order_products as l on l.order_id = o.id and l.fetched_at = o.fetched_at
    group by o.id
)

select
    o.id as order_id,
    o.source_id,
    o.status_id,
    o.buyer_id,
    case
        when not o.order_date between date '2000-01-01' and date '2099-12-31' then 'day_is_within_reason'
        when o.is_excluded then null
        when o.grand_total < 0 then 'total_is_not_negative'
        when l.least_price < 0 then 'price_is_not_negative'
        when l.most_quantity > o.largest_quantity then 'quantity_is_within_limits'
        when
            greatest(o.grand_total::double, l.most_amount) * coalesce(r.rate, 1)::double > o.largest_amount::double
            then 'amount_is_within_limits'
        when r.rate is null then 'currency_has_rate'
    end as rule,
    o.order_date,
    if(o.is_excluded, 0, o.grand_total)::decimal(18, 2) as amount,
    coalesce(s.currency_code, o.shop_currency) as currency,
    o.ordered_at,
    o.fetched_at as since,
from alive as o
left join lines as l on l.order_id = o.id
left join silver.sources as s on s.id = o.source_id
asof left join rules.rates as r
    on r.currency = coalesce(s.currency_code, o.shop_currency) and o.order_date >= r.valid_from
where rule is not null
