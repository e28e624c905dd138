"""A lake of two small tables, whose releases tests publish one by one without a transform."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pyarrow as pa

from lake.cli.output import as_csv
from lake.delta.contract import Contract
from lake.delta.tables import create_table
from lake.paths import Lake
from lake.query.session import fetch, open_session
from lake.releases.release import Move, Release, current_release, publish
from lake.settings import LakeSettings

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
ENGINE = LakeSettings(memory_limit="512MB", threads=1)
SCHEMA = Contract.of({"id": "BIGINT", "text": "VARCHAR?"}).schema
TABLES = ("silver.things", "gold.sums")


def commit(lake: Lake, table: str, *ids: int) -> int:
    """Replace a table's rows by the ids; return the version."""
    rows = pa.table({"id": list(ids), "text": [str(number) for number in ids]}, schema=SCHEMA)
    return create_table(lake, table, SCHEMA).replace(rows)


def release_of(lake: Lake, tables: dict[str, int], *, rows: int, at: datetime) -> Release:
    """Return the release of these table versions that follows the current release."""
    parent = current_release(lake)
    number = parent.release + 1 if parent else 1
    return Release(
        release=number,
        published_at=at,
        kind="sync",
        parent=parent.release if parent else None,
        tables=tables,
        consumed={},
        rows=dict.fromkeys(tables, rows),
        money={"gold.sums": Decimal(rows)},
        moved=(Move("gold.sums", None, 0, rows, None, Decimal(rows)),),
        models_hash="models",
        complete_through=at,
    )


def publish_ids(lake: Lake, *ids: int, at: datetime | None = None) -> Release:
    """Commit the ids to both tables and publish them, one hour after the last release if ``at`` is None."""
    parent = current_release(lake)
    stamp = at or NOON + timedelta(hours=parent.release if parent else 0)
    versions = {name: commit(lake, name, *ids) for name in TABLES}
    release = release_of(lake, versions, rows=len(ids), at=stamp)
    publish(lake, release)
    return release


def read_bytes(lake: Lake, release: Release) -> dict[str, bytes]:
    """Return the rows of each table in a session over the release, as bytes."""
    with open_session(lake, ENGINE, release) as session:
        return {name: to_bytes(fetch(session, f"from {name} order by all")) for name in release.tables}


def to_bytes(rows: pa.Table) -> bytes:
    """Return the schema and the rows as text. Arrow's own buffers have arbitrary bytes for a null."""
    return f"{rows.schema}\n{as_csv(rows)}".encode()
