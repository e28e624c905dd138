/*
fact = "revenue, expenses and goods of a day equal gold.revenue_daily, gold.expenses_daily and the lines sold"
*/
with found as (
    select
        date,
        sum(revenue) as revenue,
        sum(expenses) as expenses,
        sum(costed_revenue + uncosted_revenue) as goods,
    from gold.profit_daily
    group by date
),

revenue as (
    select date, sum(revenue) as revenue
    from gold.revenue_daily
    group by date
),

expenses as (
    select date, sum(amount) as expenses
    from gold.expenses_daily
    group by date
),

goods as (
    select
        o.order_date as date,
        sum(coalesce(l.goods, o.grand_total)) as goods,
    from silver.orders as o
    left join (select order_id, sum(total) as goods from silver.order_lines group by order_id) as l on l.order_id = o.id
    where not o.is_return
    group by o.order_date
),

days as (
    select distinct order_date as date
    from silver.orders
    union
    select date
    from gold.profit_daily
)

select
    d.date,
    r.revenue as expected,
    f.revenue as found,
from days as d
left join found as f on f.date = d.date
left join revenue as r on r.date = d.date
left join expenses as e on e.date = d.date
left join goods as g on g.date = d.date
where
    f.revenue is distinct from coalesce(r.revenue, 0)
    or f.expenses is distinct from coalesce(e.expenses, 0)
    or f.goods is distinct from coalesce(g.goods, 0)
