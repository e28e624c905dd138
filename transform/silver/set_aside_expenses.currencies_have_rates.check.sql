/*
fact     = "[rules] rates has a rate for every currency of an expense"
severity = "warn"
*/
select
    currency,
    count(*) as expenses,
    sum(amount) as total,
from silver.set_aside_expenses
where rule = 'currency_has_rate' and not is_canceled
group by currency
order by currency
