/*
fact = "the pairs of a month match its orders: an order with k products makes k (k + 1) / 2 pairs"
*/
with baskets as (
    select
        date_trunc('month', l.order_date)::date as order_month,
        l.order_id,
        count(distinct l.product_id) as products,
    from silver.order_lines as l
    where l.order_id in (select o.id from silver.orders as o where not o.is_return)
    group by all
),

expected as (
    select
        order_month,
        sum(products * (products + 1) // 2) as pairs,
        sum(products) as products,
    from baskets
    where products > 0
    group by order_month
),

found as (
    select
        order_month,
        sum(orders_count) as pairs,
        sum(orders_count) filter (product_id = other_product_id) as products,
    from silver.product_pairs
    group by order_month
)

select
    coalesce(e.order_month, f.order_month) as order_month,
    e.pairs as expected,
    f.pairs as found,
from expected as e
full join found as f on f.order_month = e.order_month
where
    e.pairs is distinct from f.pairs
    or e.products is distinct from f.products
