/*
grain   = "one row per product that is offered, or was sold in the last 90 days, as of the newest day of the data"
key     = ["product_id"]
rebuild = "whole"

# The newest day is that of the newest order, one dated beyond its own last change (a preorder) aside; the 90 days end
# with it. Sold is what did not come back. Stock is of the offers that are not archived, in their newest state.
[columns]
product_id     = "BIGINT"
product_name   = "VARCHAR?"            # null: no longer in the catalogue
category_id    = "BIGINT?"
offers_count   = "BIGINT"              # adds up
quantity       = "DECIMAL(18,3)?"      # in stock; adds up; null: no offer says
available      = "DECIMAL(18,3)?"      # not promised to orders, of each offer not less than nothing; adds up
value          = "DECIMAL(18,2)?"      # at today's purchase price, of the offers that have one; adds up
sold_quantity  = "DECIMAL(18,3)"       # in the 90 days; adds up
revenue        = "DECIMAL(18,2)"       # in the 90 days, as in gold.product_daily; adds up
days_of_supply = "BIGINT?"             # that what is available lasts at the 90 days' pace; null: none sold; does not add up
abc            = "VARCHAR"             # A: those that make the first 80 % of the revenue, B: up to 95 %, C: all others
last_sold_date = "DATE?"               # null: never
is_dead        = "BOOLEAN"             # in stock, not sold for 180 days, and not new in the catalogue in these days

[checks]
abc_is_known = "abc in ('A', 'B', 'C')"
supply_is_not_negative = "days_of_supply is null or days_of_supply >= 0"
*/
with newest as (
    select coalesce(max(order_date) filter (where ordered_at <= updated_at), max(order_date)) as date
    from silver.orders
),

stock as (
    select
        product_id,
        count(*) as offers_count,
        sum(quantity) as quantity,
        sum(if(quantity < coalesce(reserve, 0), 0, quantity - coalesce(reserve, 0))) as available,
        sum(quantity * purchased_price) as value,
    from silver.offers
    where not is_archived and product_id is not null
    group by product_id
),

product_days as (
    select
        p.*,
        p.date > n.date - 90 and p.date <= n.date as is_recent,
    from gold.product_daily as p
    cross join newest as n
    where p.product_id is not null
),

sales as (
    select
        product_id,
        coalesce(sum(quantity) filter (where is_recent), 0) as sold_quantity,
        coalesce(sum(revenue) filter (where is_recent), 0) as revenue,
        count_if(is_recent) as days_sold,
        max(date) as last_sold_date,
    from product_days
    group by product_id
),

products as (
    select
        coalesce(k.product_id, s.product_id) as product_id,
        coalesce(k.offers_count, 0) as offers_count,
        k.quantity,
        k.available,
        k.value,
        coalesce(s.sold_quantity, 0) as sold_quantity,
        coalesce(s.revenue, 0) as revenue,
        s.last_sold_date,
    from stock as k
    full join sales as s on s.product_id = k.product_id
    where k.product_id is not null or s.days_sold > 0
),

ranked as (
    select
        *,
        sum(revenue) over () as every,
        sum(revenue) over (order by revenue desc, product_id) - revenue as before,
    from products
)

select
    r.product_id,
    p.name as product_name,
    p.category_id,
    r.offers_count,
    r.quantity::decimal(18, 3) as quantity,
    r.available::decimal(18, 3) as available,
    r.value::decimal(18, 2) as value,
    r.sold_quantity::decimal(18, 3) as sold_quantity,
    r.revenue::decimal(18, 2) as revenue,
    -- Thousandths of a piece, to divide whole numbers.
    case
        when r.sold_quantity > 0
            then ((r.available * 1000)::hugeint * 90 // (r.sold_quantity * 1000)::hugeint)::bigint
    end as days_of_supply,
    case
        when r.revenue > 0 and r.before * 100 < r.every * 80 then 'A'
        when r.revenue > 0 and r.before * 100 < r.every * 95 then 'B'
        else 'C'
    end as abc,
    r.last_sold_date,
    (
        coalesce(r.quantity > 0, false)
        and coalesce(r.last_sold_date <= n.date - 180, true)
        and coalesce((p.created_at at time zone 'Europe/Kyiv')::date <= n.date - 180, true)
    ) as is_dead,
from ranked as r
cross join newest as n
left join silver.products as p on p.id = r.product_id
