-- The orders that moved, of the days $days or, if that is null, of all days.
-- Python creates the table order_pairs (order_pairs.sql).
select * exclude (is_moved)
from order_pairs
where is_moved and ($days::date[] is null or date_before in $days::date[] or date_after in $days::date[])
order by coalesce(date_after, date_before), order_id
