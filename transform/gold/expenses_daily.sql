/*
grain   = "one row per order day and type of expense; cancelled expenses excluded"
key     = ["date", "expense_type_id"]
rebuild = "by month"
month   = "date"
money   = "amount"

# An expense counts on the day of its order, whenever it was paid. Expenses of returns are included: they were paid.
[columns]
date              = "DATE"           # shop day of the orders (Europe/Kyiv)
expense_type_id   = "BIGINT"         # type of the expense
expense_type_name = "VARCHAR?"       # null if KeyCRM does not list the type
amount            = "DECIMAL(18,2)"  # money, positive for a cost; adds up over days and types
expenses_count    = "BIGINT"         # number of expenses; adds up over days and types
orders_count      = "BIGINT"         # number of orders with such an expense; adds up over days, not over types
*/
select
    order_date as date,
    expense_type_id,
    expense_type_name,
    sum(amount)::decimal(18, 2) as amount,
    count(*) as expenses_count,
    count(distinct order_id) as orders_count,
from silver.order_expenses
where not is_canceled
group by all
