/*
grain   = "one row per expense of an order in silver.orders, from its newest observation; without those in silver.set_aside_expenses"
key     = ["order_id", "position"]
rebuild = "by key"
month   = "order_date"
money   = "amount"

[columns]
order_id          = "BIGINT"         # id of the order in KeyCRM
position          = "BIGINT"         # place in the order's list of expenses, from 1
expense_id        = "BIGINT"         # id of the expense in KeyCRM
expense_type_id   = "BIGINT"         # type of the expense
expense_type_name = "VARCHAR?"       # null if KeyCRM does not list the type
order_date        = "DATE"           # shop day of the order (Europe/Kyiv)
is_canceled       = "BOOLEAN"        # true if the expense was cancelled in KeyCRM
amount            = "DECIMAL(18,2)"  # money, positive for a cost; converted with the rate of order_date if currency is another one
currency          = "VARCHAR?"       # currency code that KeyCRM gives the amount; null if none
paid_at           = "TIMESTAMPTZ?"   # payment time, may be back-dated by hand; null if KeyCRM gives none
*/
select
    o.id as order_id,
    e.position,
    e.id as expense_id,
    e.expense_type_id,
    t.name as expense_type_name,
    o.order_date,
    coalesce(e.status = 'canceled', false) as is_canceled,
    (e.amount::decimal(38, 4) * r.rate)::decimal(18, 2) as amount,
    nullif(upper(trim(e.actual_currency)), '') as currency,
    e.payment_date as paid_at,
from silver.orders as o
join bronze.expenses as e on e.order_id = o.id and e.fetched_at = o.observed_at
asof join rules.rates as r
    on r.currency = coalesce(nullif(upper(trim(e.actual_currency)), ''), (select currency from rules.currency))
    and o.order_date >= r.valid_from
join rules.limits as m on abs(e.amount::double * r.rate::double) <= m.largest_amount::double
left join silver.expense_types as t on t.id = e.expense_type_id
