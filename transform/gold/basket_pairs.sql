/*
grain   = "one row per two products bought together: the 1,000 pairs with the most orders, at least 2 each"
key     = ["product_id", "other_product_id"]
rebuild = "whole"

# Based on all orders of included sources, returns excluded. Orders without a catalogue product are included.
[columns]
product_id       = "BIGINT"         # the lower id of the two
product_name     = "VARCHAR?"       # null if the catalogue no longer has the product
other_product_id = "BIGINT"         # the higher id of the two, so that a pair has one row
other_name       = "VARCHAR?"       # null if the catalogue no longer has the product
both_count       = "BIGINT"         # number of orders with both products; does not add up, since an order can have many pairs
product_count    = "BIGINT"         # number of orders with the first product; does not add up
other_count      = "BIGINT"         # number of orders with the other product; does not add up
orders_count     = "BIGINT"         # number of all orders; the same in every row
support          = "DECIMAL(9,8)"   # share of all orders: both_count / orders_count; does not add up
confidence       = "DECIMAL(5,4)"   # share of the first product's orders: both_count / product_count; does not add up
other_confidence = "DECIMAL(5,4)"   # share of the other product's orders: both_count / other_count; does not add up
lift             = "DECIMAL(18,4)"  # confidence / (other_count / orders_count), above 1 if more than chance; does not add up

[checks]
counts_fit = "both_count between 2 and least(product_count, other_count) and greatest(product_count, other_count) <= orders_count"
pair_is_of_two = "other_product_id > product_id"
*/
with pairs as (
    select
        product_id,
        other_product_id,
        sum(orders_count)::bigint as orders_count,
    from silver.product_pairs
    group by product_id, other_product_id
),

most as (
    select *
    from pairs
    where product_id <> other_product_id and orders_count >= 2
    order by orders_count desc, product_id, other_product_id
    limit 1000
),

every as (
    select sum(orders_count)::bigint as orders_count
    from gold.revenue_daily
),

counts as (
    select
        m.product_id,
        m.other_product_id,
        m.orders_count::hugeint as both_count,
        a.orders_count::hugeint as product_count,
        b.orders_count::hugeint as other_count,
        e.orders_count::hugeint as orders_count,
    from most as m
    join pairs as a on a.product_id = m.product_id and a.other_product_id = m.product_id
    join pairs as b on b.product_id = m.other_product_id and b.other_product_id = m.other_product_id
    cross join every as e
)

-- Integer division, rounded half away from zero.
select
    c.product_id,
    p.name as product_name,
    c.other_product_id,
    o.name as other_name,
    c.both_count::bigint as both_count,
    c.product_count::bigint as product_count,
    c.other_count::bigint as other_count,
    c.orders_count::bigint as orders_count,
    (
        ((200000000 * c.both_count + c.orders_count) // (2 * c.orders_count))::bigint * 0.00000001
    )::decimal(9, 8) as support,
    (((20000 * c.both_count + c.product_count) // (2 * c.product_count))::bigint * 0.0001)::decimal(5, 4) as confidence,
    (((20000 * c.both_count + c.other_count) // (2 * c.other_count))::bigint * 0.0001)::decimal(5, 4) as other_confidence,
    (
        (
            (20000 * c.both_count * c.orders_count + c.product_count * c.other_count)
            // (2 * c.product_count * c.other_count)
        )::bigint * 0.0001
    )::decimal(18, 4) as lift,
from counts as c
left join silver.products as p on p.id = c.product_id
left join silver.products as o on o.id = c.other_product_id
