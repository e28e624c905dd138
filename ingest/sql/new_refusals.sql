-- Return the positions of the incoming refusals that are a new state: the id is unknown, or they are later than
-- its newest state, and that is not the same refusal.
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
    or ((n.digest <> hash(i.hash) or not n.is_refused) and n.fetched_at < i.fetched_at)
order by i.position
