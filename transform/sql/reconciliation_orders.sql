-- The first orders that differ, the number of such orders, and whether the content of each is that of the CRM: then
-- its row in bronze was damaged, since its columns do not follow from its payload.
-- Parameter: $limit, the number of orders to return.
select
    id,
    case
        when b.id is null then 'is not built'
        when e.id is null then 'is not in the CRM'
        when e.total is distinct from b.total
            then format('is {} in the CRM, {} built', coalesce(e.total::varchar, '?'), b.total::varchar)
        when e.day is distinct from b.day
            then format('is of {} in the CRM, of {} built', coalesce(e.day::varchar, '?'), b.day::varchar)
        else 'is built from another state'
    end as difference,
    count(*) over () as orders,
    coalesce(e.hash = b.hash, false) as is_damaged,
from reconciliation.expected as e
full join reconciliation.built as b using (id)
where
    b.id is null
    or e.id is null
    or e.total is distinct from b.total
    or e.day is distinct from b.day
    or e.status_id is distinct from b.status_id
    or e.hash is distinct from b.hash
order by id
limit $limit
