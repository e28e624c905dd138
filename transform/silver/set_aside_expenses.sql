/*
grain   = "one row per expense of an order in silver.orders that breaks a rule and is therefore in no number"
key     = ["order_id", "position"]
rebuild = "by key"

# One odd expense costs only itself: its order counts. The rules, in the order in which they are tried:
#   currency_has_rate              the expense is in the shop's currency, or [rules] rates has its rate of that day
#   amount_is_within_limits        the amount is not above [rules] largest_amount
[columns]
order_id    = "BIGINT"         # id of the order in KeyCRM
position    = "BIGINT"         # place in the order's list of expenses, from 1
expense_id  = "BIGINT"         # id of the expense in KeyCRM
rule        = "VARCHAR"        # the first rule that the expense breaks
order_date  = "DATE"           # shop day of the order (Europe/Kyiv)
is_canceled = "BOOLEAN"        # true if the expense was cancelled in KeyCRM, so that it would not count anyway
amount      = "DECIMAL(18,4)"  # in its own currency, as KeyCRM gives it
currency    = "VARCHAR"        # currency code of the expense; the shop's currency if KeyCRM gives none
since       = "TIMESTAMPTZ"    # fetch time of the order's newest observation
*/
select
    o.id as order_id,
    e.position,
    e.id as expense_id,
    if(r.rate is null, 'currency_has_rate', 'amount_is_within_limits') as rule,
    o.order_date,
    coalesce(e.status = 'canceled', false) as is_canceled,
    e.amount,
    coalesce(nullif(upper(trim(e.actual_currency)), ''), (select currency from rules.currency)) as currency,
    o.observed_at as since,
from silver.orders as o
join bronze.expenses as e on e.order_id = o.id and e.fetched_at = o.observed_at
asof left join rules.rates as r
    on r.currency = coalesce(nullif(upper(trim(e.actual_currency)), ''), (select currency from rules.currency))
    and o.order_date >= r.valid_from
where
    r.rate is null
    or abs(e.amount::double * r.rate::double) > (select largest_amount::double from rules.limits)
