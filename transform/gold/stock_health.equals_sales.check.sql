/*
fact = "stock equals silver.offers and sales of 90 days equal the lines, with no product missing or extra"
*/
with last_day as (
    select order_date as date
    from silver.orders
    order by ordered_at > updated_at, order_date desc
    limit 1
),

sold as (
    select
        l.product_id,
        sum(l.quantity) as quantity,
    from silver.order_lines as l
    join last_day as d on l.order_date between d.date - 89 and d.date
    where l.product_id is not null and l.order_id in (select id from silver.orders where not is_return)
    group by l.product_id
),

offered as (
    select product_id, sum(quantity) as quantity, count(*) as offers_count
    from silver.offers
    where product_id is not null and is_archived is false
    group by product_id
),

expected as (
    select
        coalesce(s.product_id, o.product_id) as product_id,
        coalesce(s.quantity, 0) as sold_quantity,
        coalesce(o.offers_count, 0) as offers_count,
        o.quantity,
    from sold as s
    full join offered as o on o.product_id = s.product_id
)

select
    coalesce(e.product_id, g.product_id) as product_id,
    e.sold_quantity as expected,
    g.sold_quantity as found,
from expected as e
full join gold.stock_health as g on g.product_id = e.product_id
where
    e.sold_quantity is distinct from g.sold_quantity
    or e.offers_count is distinct from g.offers_count
    or e.quantity is distinct from g.quantity
