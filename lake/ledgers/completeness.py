"""Witness: what the CRM showed in one resync, order by order, put down apart from the bronze tables.

A resync is compared with it before anything is published, so a row is taken from the
payload as it arrived, by nobody who decides what is news or types a row. Append-only
while its run lasts; a week later the whole witness goes: it is some 40 bytes an order.
"""

from datetime import datetime, timedelta

import structlog

from lake.delta.contract import Contract
from lake.delta.table import Table, create_table, open_table, table_exists
from lake.errors import CommitConflict
from lake.ledgers.runs import id_of_run
from lake.paths import Lake
from lake.query.catalogue import show_ledgers
from lake.query.quote import literal

log = structlog.get_logger()
WITNESSES = "ops.witnesses"
KEPT = timedelta(days=7)
# What the payload does not say, or says as nothing that can be read, is missing.
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


def make_witnesses(lake: Lake) -> Table:
    """Open the ledger, making it where there is none; a run is a folder of it."""
    return create_table(lake, WITNESSES, SCHEMA, partition_by=["run_id"])


def open_witnesses(lake: Lake) -> Table | None:
    """Open the ledger; None where no resync was ever made."""
    return open_table(lake, WITNESSES) if table_exists(lake, WITNESSES) else None


def has_witness(table: Table, run_id: str) -> bool:
    """True where the run's witness is there."""
    return run_id in table.partitions("run_id")


def forget_witnesses(lake: Lake, *, now: datetime) -> None:
    """Drop the witnesses of runs that began longer than KEPT ago; not now where somebody is in the way."""
    table = make_witnesses(lake)
    oldest = id_of_run(now - KEPT)
    if not any(folder < oldest for folder in table.partitions("run_id")):
        return
    try:
        table.delete(f"run_id < {literal(oldest)}")
    except CommitConflict as conflict:
        log.info("witness.not_forgotten", reason=str(conflict))
        return
    show_ledgers(lake)
