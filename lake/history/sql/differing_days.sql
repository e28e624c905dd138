-- The days of one table that differ, and how many rows of each only one release has.
-- Python creates the views only_before.compared and only_after.compared: the rows of the files
-- that only one release has, with their day as compared_day (null if the table has no days).
with removed as (
    from only_before.compared
    except all
    from only_after.compared
),

added as (
    from only_after.compared
    except all
    from only_before.compared
),

changes as (
    select compared_day as day, 1 as is_removed from removed
    union all
    select compared_day as day, 0 as is_removed from added
)

select
    day,
    date_trunc('month', day)::date as month,
    sum(is_removed)::bigint as rows_removed,
    (count(*) - sum(is_removed))::bigint as rows_added,
from changes
group by all
