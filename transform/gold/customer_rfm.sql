/*
grain     = "one row per buyer with an order at an included source, as of the newest day of the data; returns excluded"
key       = ["buyer_id"]
rebuild   = "whole"
partition = "last_order_date"

# A score is the fifth of all buyers that a buyer is in, 5 is the best. Buyers with equal values have the same score,
# that of the lowest of them.
# The newest day is the day of the newest order. Preorders, dated later than their own last change, do not set it.
[columns]
buyer_id        = "BIGINT"         # id of the buyer card
last_order_date = "DATE"           # shop day of the last order at an included source
recency_days    = "BIGINT"         # days from the last order to the newest day, 0 for a preorder; does not add up
frequency       = "BIGINT"         # number of orders; adds up over buyers
monetary        = "DECIMAL(18,2)"  # money, sum of grand_total; adds up over buyers
recency_score   = "BIGINT"         # 1 to 5, 5 for the latest orders; does not add up
frequency_score = "BIGINT"         # 1 to 5, 5 for the most orders; does not add up
monetary_score  = "BIGINT"         # 1 to 5, 5 for the highest revenue; does not add up
segment         = "VARCHAR"        # champions, loyal, at risk, new, promising or lost, by recency_score and frequency_score

[checks]
scores_are_fifths   = "least(recency_score, frequency_score, monetary_score) >= 1 and greatest(recency_score, frequency_score, monetary_score) <= 5"
recency_is_not_less = "recency_days >= 0"
who_is_here_ordered = "frequency >= 1"
*/
with newest as (
    select coalesce(max(order_date) filter (where ordered_at <= updated_at), max(order_date)) as date
    from silver.orders
),

scores as (
    select
        buyer_id,
        last_order_date,
        orders_count,
        revenue,
        count(*) over () as buyers,
        rank() over (order by last_order_date) - 1 as less_recent,
        rank() over (order by orders_count) - 1 as less_frequent,
        rank() over (order by revenue) - 1 as less_paid,
    from silver.customers
    where orders_count > 0
),

fifths as (
    select
        *,
        less_recent * 5 // buyers + 1 as recency_score,
        less_frequent * 5 // buyers + 1 as frequency_score,
        less_paid * 5 // buyers + 1 as monetary_score,
    from scores
)

select
    f.buyer_id,
    f.last_order_date,
    greatest(n.date - f.last_order_date, 0) as recency_days,
    f.orders_count as frequency,
    f.revenue as monetary,
    f.recency_score,
    f.frequency_score,
    f.monetary_score,
    case
        when f.frequency_score >= 4 and f.recency_score >= 4 then 'champions'
        when f.frequency_score >= 4 and f.recency_score = 3 then 'loyal'
        when f.frequency_score >= 4 then 'at risk'
        when f.recency_score >= 4 then 'new'
        when f.recency_score = 3 then 'promising'
        else 'lost'
    end as segment,
from fifths as f
cross join newest as n
