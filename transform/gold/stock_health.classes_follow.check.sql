/*
fact = "no product earned more than one of a better class; A makes 80 % of the revenue, A and B 95 %"
*/
with classes as (
    select
        sum(revenue) as every,
        coalesce(sum(revenue) filter (abc = 'A'), 0) as a,
        coalesce(sum(revenue) filter (abc <> 'C'), 0) as ab,
        min(revenue) filter (abc = 'A') as least_a,
        max(revenue) filter (abc = 'B') as most_b,
        min(revenue) filter (abc <> 'C') as least_ab,
        max(revenue) filter (abc = 'C') as most_c,
    from gold.stock_health
)

select every, a, ab
from classes
where
    a * 100 < every * 80
    or ab * 100 < every * 95
    or (a - least_a) * 100 >= every * 80
    or most_b > least_a
    or most_c > least_ab
