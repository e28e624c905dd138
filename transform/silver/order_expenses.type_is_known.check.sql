/*
fact     = "every expense's type is in the CRM's list of types"
severity = "warn"
*/
select distinct e.expense_type_id
from silver.order_expenses as e
anti join silver.expense_types as t on t.id = e.expense_type_id
