-- Return the positions of the incoming observations that carry a new state: their id is unknown, or their
-- content differs from the newest observation of the id and they are later than it.
-- `incoming` holds (position, id, hash, fetched_at); `observed` holds (id, digest, fetched_at, created_at).
with newest as (
    select id, arg_max(digest, fetched_at) as digest, max(fetched_at) as fetched_at
    from observed semi join incoming using (id)
    group by id
)

select i.position
from incoming as i left join newest as n on n.id = i.id
where
    n.id is null
    or (n.digest <> hash(i.hash) and n.fetched_at < i.fetched_at)
order by i.position
