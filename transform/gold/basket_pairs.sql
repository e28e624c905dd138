/*
grain   = "one row per two products bought together: the 1,000 pairs of the most orders, of 2 orders or more"
key     = ["product_id", "other_product_id"]
rebuild = "whole"

# Over all orders that count and did not come back. An order without a product of the catalogue is among them.
[columns]
product_id       = "BIGINT"
product_name     = "VARCHAR?"          # null: no longer in the catalogue
other_product_id = "BIGINT"            # the greater id of the two: a pair is there once
other_name       = "VARCHAR?"
both_count       = "BIGINT"            # orders with both; does not add up: an order can have many pairs
product_count    = "BIGINT"            # orders with the first; does not add up
other_count      = "BIGINT"            # orders with the other; does not add up
orders_count     = "BIGINT"            # all orders: the same in every row
support          = "DECIMAL(9,8)"      # both / all; does not add up
confidence       = "DECIMAL(5,4)"      # both / first: who bought the first bought the other too; does not add up
other_confidence = "DECIMAL(5,4)"      # both / other; does not add up
lift             = "DECIMAL(18,4)"     # both x all / (first x other); above 1: no chance; does not add up

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

-- Ratios of whole numbers, half away from zero.
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
