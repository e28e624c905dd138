/*
grain   = "one row per day of the order and sales type that had orders, a day of nothing but returns too"
key     = ["date", "sales_type"]
rebuild = "by month"
month   = "date"
money   = "revenue"

# Cost is what the goods cost on the day they were sold: silver.order_lines.unit_cost. Where it is not known it is
# not guessed: profit is then too high by it, and cost_coverage says how much of the revenue that concerns.
# Goods of an order that came back cost nothing, its expenses were spent; goods given away for nothing have a cost.
[columns]
date             = "DATE"
sales_type       = "VARCHAR"
revenue          = "DECIMAL(18,2)"     # as in gold.revenue_daily: of orders, their discount and delivery in it; adds up
cost             = "DECIMAL(18,2)"     # of the goods whose cost is known; adds up
expenses         = "DECIMAL(18,2)"     # booked on the day's orders, returns too, cancelled ones not; adds up
profit           = "DECIMAL(18,2)"     # revenue - cost - expenses; adds up
costed_revenue   = "DECIMAL(18,2)"     # of the lines whose cost is known; adds up
uncosted_revenue = "DECIMAL(18,2)"     # of the other lines, and of orders without lines; adds up
cost_coverage    = "DECIMAL(5,4)?"     # costed / (costed + uncosted); does not add up; null: nothing to cover

[checks]
profit_is_what_is_left = "profit = revenue - cost - expenses"
*/
with orders as (
    select
        order_date as date,
        sales_type,
        coalesce(sum(grand_total) filter (where not is_return), 0) as revenue,
    from silver.orders
    group by all
),

goods as (
    select
        o.order_date as date,
        o.sales_type,
        sum(l.unit_cost * l.quantity) as cost,
        sum(l.total) filter (where l.unit_cost is not null) as costed,
        sum(l.total) filter (where l.unit_cost is null) as uncosted,
    from silver.order_lines as l
    join silver.orders as o on o.id = l.order_id
    where not o.is_return
    group by all
),

orders_without_lines as (
    select
        o.order_date as date,
        o.sales_type,
        sum(o.grand_total) as uncosted,
    from silver.orders as o
    anti join silver.order_lines as l on l.order_id = o.id
    where not o.is_return
    group by all
),

expenses as (
    select
        o.order_date as date,
        o.sales_type,
        sum(e.amount) as expenses,
    from silver.order_expenses as e
    join silver.orders as o on o.id = e.order_id
    where not e.is_canceled
    group by all
),

days as (
    select
        o.date,
        o.sales_type,
        o.revenue::decimal(18, 2) as revenue,
        coalesce(g.cost, 0)::decimal(18, 2) as cost,
        coalesce(e.expenses, 0)::decimal(18, 2) as expenses,
        coalesce(g.costed, 0)::decimal(18, 2) as costed,
        (coalesce(g.uncosted, 0) + coalesce(w.uncosted, 0))::decimal(18, 2) as uncosted,
    from orders as o
    left join goods as g on g.date = o.date and g.sales_type = o.sales_type
    left join orders_without_lines as w on w.date = o.date and w.sales_type = o.sales_type
    left join expenses as e on e.date = o.date and e.sales_type = o.sales_type
),

kopecks as (
    select
        *,
        (costed * 100)::hugeint as part,
        ((costed + uncosted) * 100)::hugeint as whole,
    from days
)

select
    date,
    sales_type,
    revenue,
    cost,
    expenses,
    (revenue - cost - expenses)::decimal(18, 2) as profit,
    costed as costed_revenue,
    uncosted as uncosted_revenue,
    -- Whole ten thousandths, half away from zero: a double would miss halves.
    case when whole > 0 then (((20000 * part + whole) // (2 * whole))::bigint * 0.0001)::decimal(5, 4) end as cost_coverage,
from kopecks
