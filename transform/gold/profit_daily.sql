/*
grain   = "one row per order day and sales type with orders, also if all of them are returns"
key     = ["date", "sales_type"]
rebuild = "by month"
month   = "date"
money   = "revenue"

# Cost is silver.order_lines.unit_cost, the cost on the day of the sale. An unknown cost is not estimated: profit is
# then too high by that cost, and cost_coverage shows the share of the revenue whose cost is known.
# The goods of a return cost nothing, but its expenses count. Goods given away for free have a cost.
[columns]
date             = "DATE"           # shop day of the orders (Europe/Kyiv)
sales_type       = "VARCHAR"        # retail, b2b or other, see silver.orders
revenue          = "DECIMAL(18,2)"  # money, as in gold.revenue_daily, returns excluded; adds up over days and types
cost             = "DECIMAL(18,2)"  # money, cost of the goods whose cost is known, returns excluded; adds up over days and types
expenses         = "DECIMAL(18,2)"  # money, of the day's orders, returns included; adds up over days and types
profit           = "DECIMAL(18,2)"  # money, revenue - cost - expenses; adds up over days and types
costed_revenue   = "DECIMAL(18,2)"  # money, lines whose cost is known; adds up over days and types
uncosted_revenue = "DECIMAL(18,2)"  # money, other lines, and orders without lines; adds up over days and types
cost_coverage    = "DECIMAL(5,4)?"  # costed_revenue / (costed_revenue + uncosted_revenue); does not add up; null if both are 0 or one is negative

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
        sum(l.unit_cost::decimal(38, 4) * l.quantity) as cost,
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
    -- Integer division in steps of 0.0001, rounded half away from zero; a double would lose halves. If one part is
    -- negative (a line taken back), the other is no share of the whole.
    case
        when whole > 0 and part between 0 and whole
            then (((20000 * part + whole) // (2 * whole))::bigint * 0.0001)::decimal(5, 4)
    end as cost_coverage,
from kopecks
