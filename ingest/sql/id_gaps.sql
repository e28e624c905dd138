-- Return the spans of ids between two neighbours that were never observed, newest first.
-- They lie above the first id created from `$since` on, or above `$first_id` if it is set. The CRM's ids are
-- positive and dense: a gap of more than `$longest` ids lies below an id that is far from all others.
with neighbours as (
    select id, lag(id) over (order by id) as before
    from (
        select id from observed
        union
        select greatest($first_id::bigint, 1) - 1 where $first_id is not null
    )
)

select greatest(before + 1, 1), id - 1
from neighbours
where
    id > before + 1
    and id > 1
    and id::hugeint - before <= $longest + 1
    -- Ids above the newest order come from requests with a mistyped number.
    and id <= (select max(id) from observed where digest <> hash($tombstone))
    and (id > (select min(id) from observed where created_at >= $since) or $first_id is not null)
order by id desc
