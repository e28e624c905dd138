/*
grain   = "one row per day of the order and type of expense; what was cancelled is left out"
key     = ["date", "expense_type_id"]
rebuild = "by month"
month   = "date"
money   = "amount"

# On the day of the order it was booked on, whenever it was paid; on orders that came back too: it was spent.
[columns]
date              = "DATE"
expense_type_id   = "BIGINT"
expense_type_name = "VARCHAR?"         # null: a type the CRM does not list
amount            = "DECIMAL(18,2)"    # adds up over days and types; a cost is positive
expenses_count    = "BIGINT"           # adds up over days and types
orders_count      = "BIGINT"           # orders with such an expense; adds up over days, not over types
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
