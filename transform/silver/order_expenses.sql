/*
grain   = "one row per expense booked on an order that counts, as the order's newest state has it"
key     = ["order_id", "position"]
rebuild = "by key"
month   = "order_date"
money   = "amount"

[columns]
order_id          = "BIGINT"
position          = "BIGINT"           # place in the order's list, from 1
expense_id        = "BIGINT"
expense_type_id   = "BIGINT"
expense_type_name = "VARCHAR?"
order_date        = "DATE"
is_canceled       = "BOOLEAN"
amount            = "DECIMAL(18,2)"    # a cost is positive
currency          = "VARCHAR?"
paid_at           = "TIMESTAMPTZ?"     # may be back-dated by hand
*/
select
    o.id as order_id,
    e.position,
    e.id as expense_id,
    e.expense_type_id,
    t.name as expense_type_name,
    o.order_date,
    coalesce(e.status = 'canceled', false) as is_canceled,
    e.amount::decimal(18, 2) as amount,
    e.actual_currency as currency,
    e.payment_date as paid_at,
from silver.orders as o
join bronze.expenses as e on e.order_id = o.id and e.fetched_at = o.observed_at
left join silver.expense_types as t on t.id = e.expense_type_id
