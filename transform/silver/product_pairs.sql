/*
grain   = "one row per month and pair of products in one order; a product paired with itself counts its own orders"
key     = ["order_month", "product_id", "other_product_id"]
rebuild = "by month"
month   = "order_month"

[columns]
order_month      = "DATE"    # first day of the month of the orders
product_id       = "BIGINT"  # the lower id of the two
other_product_id = "BIGINT"  # the higher id of the two, or the same id
orders_count     = "BIGINT"  # number of orders with both products, returns excluded; adds up over months

[checks]
greater_id_is_other = "other_product_id >= product_id"
*/
with products as (
    select distinct
        order_id,
        date_trunc('month', order_date)::date as order_month,
        product_id,
    from silver.order_lines
    where not is_return and product_id is not null
)

select
    a.order_month,
    a.product_id,
    b.product_id as other_product_id,
    count(*) as orders_count,
from products as a
join products as b on b.order_id = a.order_id and b.product_id >= a.product_id
group by a.order_month, a.product_id, b.product_id
