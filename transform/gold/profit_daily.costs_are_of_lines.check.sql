/*
fact = "cost and coverage per day and sales type follow from the lines, with no row missing or extra"
*/
with lines as (
    select
        o.order_date as date,
        o.sales_type,
        if(o.is_return, null, l.unit_cost::decimal(38, 4) * l.quantity) as cost,
        if(o.is_return or l.unit_cost is null, 0, l.total) as costed,
    from silver.orders as o
    left join silver.order_lines as l on l.order_id = o.id
),

expected as (
    select
        date,
        sales_type,
        coalesce(sum(cost), 0) as cost,
        sum(costed) as costed,
    from lines
    group by date, sales_type
)

select
    coalesce(e.date, g.date) as date,
    coalesce(e.sales_type, g.sales_type) as sales_type,
    e.cost as expected,
    g.cost as found,
from expected as e
full join gold.profit_daily as g on g.date = e.date and g.sales_type = e.sales_type
where
    (abs(e.cost - g.cost) <= 0.005) is not true
    or e.costed is distinct from g.costed_revenue
    or (g.cost_coverage is null)
        is distinct from (g.costed_revenue + g.uncosted_revenue <= 0 or least(g.costed_revenue, g.uncosted_revenue) < 0)
    or abs(g.cost_coverage::double * (g.costed_revenue + g.uncosted_revenue)::double - e.costed::double)
        > 0.00005 * (g.costed_revenue + g.uncosted_revenue)
