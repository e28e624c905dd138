/*
fact = "buyers and days per month equal the first and second purchases of all orders, with no month missing or extra"
*/
with purchases as (
    select
        buyer_id,
        order_date,
        row_number() over (partition by buyer_id order by order_date) as place,
    from (
        select buyer_id, order_date from silver.orders where is_return is false
        union all
        select buyer_id, order_date from silver.excluded_orders where is_return is false
    )
    where buyer_id is not null
),

expected as (
    select
        date_trunc('month', f.order_date)::date as first_month,
        count(*) as buyers,
        count(s.order_date) as came_back,
        sum(date_diff('day', f.order_date, s.order_date)) as days,
    from purchases as f
    left join purchases as s on s.buyer_id = f.buyer_id and s.place = 2
    where f.place = 1
    group by all
),

found as (
    select
        first_month,
        sum(buyers_count) as buyers,
        coalesce(sum(buyers_count) filter (days is not null), 0) as came_back,
        sum(buyers_count * days) as days,
    from gold.purchase_gaps
    group by first_month
)

select
    coalesce(e.first_month, f.first_month) as first_month,
    e.buyers as expected,
    f.buyers as found,
from expected as e
full join found as f on f.first_month = e.first_month
where
    e.buyers is distinct from f.buyers
    or e.came_back is distinct from f.came_back
    or e.days is distinct from f.days
