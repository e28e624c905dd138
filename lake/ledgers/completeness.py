"""Completeness evidence: what the CRM showed in one resync, order by order, apart from the bronze tables.

A resync is compared with it before anything is published. So each row is read from the payload
as it arrived, without the code that deduplicates and types rows. The evidence is append-only
while its run lasts, takes some 40 bytes an order, and is dropped a week later.
"""

from datetime import datetime, timedelta

import structlog

from lake.delta.contract import Contract
from lake.delta.table import Table
from lake.delta.tables import create_table, open_table, table_exists
from lake.errors import CommitConflict
from lake.ledgers.runs import id_of_run
from lake.paths import Lake
from lake.query.catalogue import show_ledgers
from lake.query.quote import literal

log = structlog.get_logger()
EVIDENCE = "ops.witnesses"
# Time that the evidence of a run is retained.
KEPT = timedelta(days=7)
# A value is null if the payload lacks it or if it is unreadable there.
SCHEMA = Contract.of(
    {
        "run_id": "VARCHAR",
        "id": "BIGINT",
        "grand_total": "DECIMAL(18,2)?",
        "ordered_at": "TIMESTAMPTZ?",
        "source_id": "BIGINT?",
        "status_id": "BIGINT?",
        "payload_hash": "VARCHAR",
        "fetched_at": "TIMESTAMPTZ",
    }
).schema


def create_evidence(lake: Lake) -> Table:
    """Open the table, and create it if it is missing; each run has its own partition."""
    return create_table(lake, EVIDENCE, SCHEMA, partition_by=["run_id"])


def open_evidence(lake: Lake) -> Table | None:
    """Open the table; None if there was never a resync."""
    return open_table(lake, EVIDENCE) if table_exists(lake, EVIDENCE) else None


def has_evidence(table: Table, run_id: str) -> bool:
    """Return True if the table has evidence of the run."""
    return run_id in table.partitions("run_id")


def drop_old_evidence(lake: Lake, *, now: datetime) -> None:
    """Drop the evidence of runs that began longer than KEPT ago; not now if another writer commits."""
    table = create_evidence(lake)
    oldest = id_of_run(now - KEPT)
    if not any(folder < oldest for folder in table.partitions("run_id")):
        return
    try:
        table.delete(f"run_id < {literal(oldest)}")
    except CommitConflict as conflict:
        log.info("evidence.not_dropped", reason=str(conflict))
        return
    show_ledgers(lake)
