-- Rows and money of each differing day in both releases.
-- Python creates the table differing_days (differing_days.sql) and the views before.compared and
-- after.compared: the day and money of each row, of the months that differ. Money is null if
-- the table has none; then $no_money is null, else 0.
with days_before as (
    select day, count(*) as rows, sum(money)::decimal(38, 2) as money
    from before.compared
    group by all
),

days_after as (
    select day, count(*) as rows, sum(money)::decimal(38, 2) as money
    from after.compared
    group by all
)

select
    $table as "table",
    d.day as date,
    coalesce(b.rows, 0) as rows_before,
    coalesce(a.rows, 0) as rows_after,
    d.rows_removed as rows_gone,
    d.rows_added as rows_new,
    coalesce(b.money, $no_money::decimal(38, 2)) as money_before,
    coalesce(a.money, $no_money::decimal(38, 2)) as money_after,
from differing_days as d
left join days_before as b on b.day is not distinct from d.day
left join days_after as a on a.day is not distinct from d.day
order by d.day
