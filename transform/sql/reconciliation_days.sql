-- The first shop day on which the two sides differ, and the number of such days.
with expected as (
    select day, count(*) as orders, sum(total)::decimal(38, 2) as money
    from reconciliation.expected
    group by day
),

built as (
    select day, count(*) as orders, sum(total)::decimal(38, 2) as money
    from reconciliation.built
    group by day
)

select
    coalesce(e.day, b.day) as day,
    coalesce(e.orders, 0) as orders_in_crm,
    coalesce(e.money, 0) as money_in_crm,
    coalesce(b.orders, 0) as orders_built,
    coalesce(b.money, 0) as money_built,
    count(*) over () as days
from expected as e
full join built as b on b.day is not distinct from e.day
where e.orders is distinct from b.orders or e.money is distinct from b.money
order by coalesce(e.day, b.day)
limit 1
