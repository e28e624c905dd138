/*
fact = "the order counts of the ten most frequent pairs, and of their products, equal the orders with these lines"
*/
with most as (
    select product_id, other_product_id, both_count, product_count, other_count
    from gold.basket_pairs
    order by both_count desc, product_id, other_product_id
    limit 10
),

orders as (
    select product_id, order_id
    from silver.order_lines
    where
        product_id in (select unnest([product_id, other_product_id]) from most)
        and order_id in (select id from silver.orders where not is_return)
    group by product_id, order_id
),

sizes as (
    select product_id, count(*) as orders
    from orders
    group by product_id
),

found as (
    select
        m.product_id,
        m.other_product_id,
        count(*) as orders,
    from most as m
    join orders as a on a.product_id = m.product_id
    semi join orders as b on b.product_id = m.other_product_id and b.order_id = a.order_id
    group by m.product_id, m.other_product_id
)

select
    m.product_id,
    m.other_product_id,
    f.orders as expected,
    m.both_count as found,
from most as m
left join found as f on f.product_id = m.product_id and f.other_product_id = m.other_product_id
left join sizes as a on a.product_id = m.product_id
left join sizes as b on b.product_id = m.other_product_id
where
    f.orders is distinct from m.both_count
    or a.orders is distinct from m.product_count
    or b.orders is distinct from m.other_count
