-- How many orders differ but did not move, of the days $days or, if that is null, of all days.
select count(*) as others
from order_pairs
where
    not is_moved
    and len(also) > 0
    and ($days::date[] is null or date_before in $days::date[] or date_after in $days::date[])
