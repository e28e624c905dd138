-- The two sides of the comparison: the orders of the CRM, and the orders that were built.
create table reconciliation.expected as
select
    id,
    least((state.at at time zone 'Europe/Kyiv')::date, date '9999-12-31') as day,
    state.total as total,
    state.status as status_id,
    state.hash as hash,
from reconciliation.observations
where
    is_in_crm
    and coalesce(state.source not in (select source_id from rules.excluded_sources), true);

create table reconciliation.built as
with orders as (
    select id, order_date, grand_total, rate, status_id, observed_at
    from silver.orders
    union all
    -- An order that is set aside is in the CRM and in no number; its amount is that of the CRM.
    select order_id, order_date, amount, 1, status_id, since
    from silver.set_aside_orders
    where coalesce(source_id not in (select source_id from rules.excluded_sources), true)
)

select
    o.id,
    o.order_date as day,
    -- The CRM's amount is in the currency of the source.
    if(o.rate = 1, o.grand_total, b.grand_total) as total,
    o.status_id,
    b.payload_hash as hash,
from orders as o
left join reconciliation.observations as l on l.id = o.id
left join bronze.orders as b on b.id = o.id and b.fetched_at = o.observed_at
-- An order without an observation can't be in the CRM, so it stays in and differs.
where l.id is null or l.counts_by in ('newer', 'evidence', 'not in evidence');
