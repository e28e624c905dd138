/*
fact = "amount and number of expenses per day and type equal silver.order_expenses, with no row missing or extra"
*/
with expected as (
    select
        o.order_date as date,
        e.expense_type_id,
        sum(e.amount) as amount,
        count(*) as expenses_count,
    from silver.orders as o
    join silver.order_expenses as e on e.order_id = o.id
    where e.is_canceled is false
    group by o.order_date, e.expense_type_id
)

select
    coalesce(e.date, g.date) as date,
    coalesce(e.expense_type_id, g.expense_type_id) as expense_type_id,
    e.amount as expected,
    g.amount as found,
from expected as e
full join gold.expenses_daily as g on g.date = e.date and g.expense_type_id = e.expense_type_id
where
    e.amount is distinct from g.amount
    or e.expenses_count is distinct from g.expenses_count
