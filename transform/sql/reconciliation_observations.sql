-- For each order id: the run's last observation, the newest one in bronze, and which of them counts.
-- Needs the view reconciliation.evidence (the completeness evidence of resyncs).
-- Parameters: $run_id, $began_at (instant); $since, $until (creation time that the run covers).
create table reconciliation.observations as
with evidence as (
    select
        id,
        max(fetched_at) as fetched_at,
        arg_max({
            'total': grand_total,
            'at': ordered_at,
            'source': source_id,
            'status': status_id,
            'hash': payload_hash
        }, fetched_at) as state,
    from reconciliation.evidence
    where run_id = $run_id
    group by id
),

newest as (
    select
        id,
        max(fetched_at) as fetched_at,
        arg_max({
            'total': grand_total,
            'at': ordered_at,
            'source': source_id,
            'status': status_id,
            'hash': payload_hash
        }, fetched_at) as state,
        arg_max(is_deleted, fetched_at) as is_deleted,
        arg_max(created_at, fetched_at) as created_at,
        arg_max(run_id, fetched_at) as run_id,
    from bronze.orders
    group by id
),

rejected as (
    select distinct payload_hash as hash from bronze.rejected where entity = 'orders'
),

observations as (
    select
        id,
        evidence.state as evidence_state,
        newest.state as newest_state,
        newest.is_deleted,
        case
            when
                newest.fetched_at > evidence.fetched_at
                or (evidence.id is null and newest.fetched_at >= $began_at and newest.run_id <> $run_id)
                then 'newer'
            when rejected.hash is not null and rejected.hash is distinct from newest.state.hash
                then 'rejected'
            when evidence.id is not null then 'evidence'
            -- A tombstone has no created_at.
            when newest.is_deleted or newest.created_at between $since and $until then 'not in evidence'
        end as counts_by,
    from evidence
    full join newest using (id)
    left join rejected on rejected.hash = evidence.state.hash
)

select
    id,
    counts_by,
    case counts_by when 'newer' then newest_state when 'evidence' then evidence_state end as state,
    counts_by = 'evidence' or (counts_by = 'newer' and not is_deleted) as is_in_crm,
from observations
