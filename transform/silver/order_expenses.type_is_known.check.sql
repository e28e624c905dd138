/*
fact     = "the CRM lists the type of every expense"
severity = "warn"
*/
select distinct e.expense_type_id
from silver.order_expenses as e
anti join silver.expense_types as t on t.id = e.expense_type_id
