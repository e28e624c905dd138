-- Return the odd fields of the entity's newest states: the field, whether its values are read, the number of ids
-- and the smallest of them. A refusal or a tombstone has no odd fields.
with newest as (
    select id, max(fetched_at) as fetched_at
    from observed
    group by id
)

select o.field, o.is_read, count(distinct o.id), min(o.id)
from odd_fields as o join newest as n on n.id = o.id and n.fetched_at = o.fetched_at
where o.entity = $entity
group by o.field, o.is_read
order by o.field, o.is_read
