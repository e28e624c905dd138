-- Return the ids created in the span that the table holds, that are not in `listed` and not deleted.
-- A tombstone has no `created_at`, so a deleted id is not requested again.
with candidates as (
    select distinct id
    from observed anti join listed using (id)
    where created_at between $since and $until
),

newest as (
    select id, arg_max(digest, fetched_at) as digest, arg_max(created_at, fetched_at) as created_at
    from observed semi join candidates using (id)
    group by id
)

select id
from newest
where digest <> hash($tombstone) and created_at between $since and $until
order by id
