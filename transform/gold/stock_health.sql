/*
grain   = "one row per product with an active offer or a sale in the last 90 days, as of the newest day of the data"
key     = ["product_id"]
rebuild = "whole"

# The newest day is the day of the newest order. Preorders, dated later than their own last change, do not set it.
# The 90 days end with the newest day. Sales exclude returns. Stock is that of active offers, in their
# newest observed state.
[columns]
product_id     = "BIGINT"          # id of the product in KeyCRM
product_name   = "VARCHAR?"        # null if the catalogue no longer has the product
category_id    = "BIGINT?"         # null if the product has no category or is not in the catalogue
offers_count   = "BIGINT"          # number of active (not archived) offers; adds up over products
quantity       = "DECIMAL(18,3)?"  # pieces in stock; adds up over products; null if no offer gives a quantity
available      = "DECIMAL(18,3)?"  # pieces not reserved, at least 0 per offer; adds up over products; null if quantity is null
value          = "DECIMAL(18,2)?"  # money at today's purchase prices; adds up over products; null if no offer has a price
sold_quantity  = "DECIMAL(18,3)"   # pieces sold in the 90 days; adds up over products
revenue        = "DECIMAL(18,2)"   # money in the 90 days, as in gold.product_daily; adds up over products
days_of_supply = "BIGINT?"         # days that available lasts at this pace; does not add up; null if none sold or stock unknown
abc            = "VARCHAR"         # A: best sellers up to 80 % of revenue, B: the next up to 95 %, C: the rest
last_sold_date = "DATE?"           # shop day of the last sale; null if never sold
is_dead        = "BOOLEAN"         # true if in stock, unsold for 180 days and not new in the catalogue in these days

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
        sum(quantity * purchased_price::decimal(38, 2)) as value,
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
    try_cast(r.value as decimal(18, 2)) as value,
    r.sold_quantity::decimal(18, 3) as sold_quantity,
    r.revenue::decimal(18, 2) as revenue,
    -- Integer division in thousandths of a piece.
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
