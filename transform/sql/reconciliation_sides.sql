-- The two sides of the comparison: the orders of the CRM, and the orders that were built.
create table reconciliation.expected as
select
    id,
    (state.at at time zone 'Europe/Kyiv')::date as day,
    state.total as total,
    state.status as status_id,
    state.hash as hash,
from reconciliation.observations
where
    is_in_crm
    and coalesce(state.source not in (select source_id from rules.excluded_sources), true);

create table reconciliation.built as
select
    o.id,
    o.order_date as day,
    o.grand_total as total,
    o.status_id,
    b.payload_hash as hash,
from silver.orders as o
left join reconciliation.observations as l on l.id = o.id
left join bronze.orders as b on b.id = o.id and b.fetched_at = o.observed_at
-- An order without an observation can't be in the CRM, so it stays in and differs.
where l.id is null or l.counts_by in ('newer', 'evidence', 'not in evidence');
