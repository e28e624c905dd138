-- Return the positions of the incoming observations that may carry a new state: their id is unknown, or they are
-- later than the newest state of the id and differ from it. An equal one is returned if that state is a refusal.
-- `incoming` holds (position, id, hash, fetched_at); `observed` holds (id, digest, fetched_at, created_at,
-- is_refused).
with newest as (
    select
        id,
        arg_max(digest, fetched_at) as digest,
        arg_max(is_refused, fetched_at) as is_refused,
        max(fetched_at) as fetched_at
    from observed semi join incoming using (id)
    group by id
)

select i.position
from incoming as i left join newest as n on n.id = i.id
where
    n.id is null
    or ((n.digest <> hash(i.hash) or n.is_refused) and n.fetched_at < i.fetched_at)
order by i.position
