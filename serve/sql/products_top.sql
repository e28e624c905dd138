-- A renamed product keeps its id, so its newest name stands for all days.
-- If a product has no id, it is identified by the name it was sold under.
with products as (
    select
        product_id,
        max_by(product_name, {'date': date, 'name': product_name}) as product_name,
        max_by(category_id, {'date': date, 'id': category_id}) as category_id,
        max_by(brand, {'date': date, 'name': brand}) as brand,
        sum(quantity) as quantity,
        sum(revenue) as revenue,
    from gold.product_daily
    where date between $first and $last
    group by product_id, case when product_id is null then product_name end
)

select *
from products
order by
    case when $by = 'quantity' then quantity else revenue end desc,
    product_name nulls last,
    product_id nulls last
limit $limit
