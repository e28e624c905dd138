-- Count the ids whose newest observation is no tombstone, up to `$up_to` if it is set.
select count(*)
from (
    select arg_max(digest, fetched_at) as digest
    from observed
    where id <= $up_to or $up_to is null
    group by id
)
where digest <> hash($tombstone)
