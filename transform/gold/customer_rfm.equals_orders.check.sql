/*
fact = "orders, revenue and last day of every buyer equal silver.orders, with no buyer missing or extra"
*/
with expected as (
    select
        buyer_id,
        count(*) as frequency,
        sum(grand_total) as monetary,
        max(order_date) as last_order_date,
    from silver.orders
    where is_return is false and buyer_id is not null
    group by buyer_id
)

select
    coalesce(e.buyer_id, g.buyer_id) as buyer_id,
    e.monetary as expected,
    g.monetary as found,
from expected as e
full join gold.customer_rfm as g on g.buyer_id = e.buyer_id
where
    e.frequency is distinct from g.frequency
    or e.monetary is distinct from g.monetary
    or e.last_order_date is distinct from g.last_order_date
