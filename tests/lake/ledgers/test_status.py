"""Status: what is in the lake and how fresh it is, read from the ends of its ledgers."""

import re
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from ingest.schemas import REJECTED, SCHEMAS
from lake.delta import table as tables
from lake.delta.tables import create_table
from lake.ledgers.runs import RUNS, WindowReceipt, write_run
from lake.ledgers.status import LakeStatus, TableStatus, read_status
from lake.paths import Lake
from tests.support.receipts import receipt
from tests.support.running import environ_of, succeed

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)


def window(entity: str, by: str = "list", *, complete: bool = True) -> WindowReceipt:
    """Return the receipt of a window."""
    return WindowReceipt(
        entity=entity, by=by, since=None, until=None, expected=1, seen=1, pages_expected=1, pages_fetched=1,
        pages_failed=0, complete=complete,
    )  # fmt: skip


def ran(lake: Lake, at: datetime, *windows: WindowReceipt, watermark: datetime | None = None) -> None:
    """Write the receipt of a run that ended then."""
    verdict = "complete" if watermark else "incomplete"
    write_run(lake, receipt(at, verdict=verdict, windows=windows, watermark=watermark))


def observe(lake: Lake, entity: str, *ids: int) -> None:
    """Append observations of these ids."""
    name = f"bronze.{entity}"
    rows = [{"id": found, "payload_hash": "", "is_deleted": True, **stamp()} for found in ids]
    create_table(lake, name, SCHEMAS[name]).append(pa.Table.from_pylist(rows, schema=SCHEMAS[name]))


def reject(lake: Lake, *entities: str) -> None:
    """Append one rejected object of each of these entities, in one commit."""
    rows = [
        {"entity": entity, "reason": "", "payload": "{}", "payload_hash": "", **stamp()}
        for entity in entities
    ]
    create_table(lake, "bronze.rejected", REJECTED).append(pa.Table.from_pylist(rows, schema=REJECTED))


def stamp() -> dict[str, object]:
    """Return the columns that every observation has."""
    return {"fetched_at": NOW, "run_id": "r", "observed_on": NOW.date()}


def of(status: LakeStatus, name: str) -> TableStatus:
    """Return the status of one table."""
    return next(table for table in status.tables if table.table == name)


def test_each_entity_has_its_own_last_complete_run_and_watermark(lake: Lake) -> None:
    """The last complete reading of an entity is found at any age, behind later incomplete ones."""
    for entity in ("orders", "buyers", "products"):
        observe(lake, entity, 1, 2)
    ran(lake, NOW - 9000 * HOUR, window("products"))
    ran(
        lake,
        NOW - 50 * HOUR,
        window("buyers", "updated"),
        window("orders", "updated"),
        watermark=NOW - 51 * HOUR,
    )
    ran(lake, NOW - 3 * HOUR, window("orders"), window("orders", "created", complete=False))
    ran(lake, NOW - HOUR, window("orders", "created"), window("orders", "id", complete=False))
    ran(lake, NOW, window("orders", "id"))
    found = read_status(lake)
    assert (of(found, "bronze.orders").complete_at, of(found, "bronze.orders").watermark) == (
        NOW - HOUR,
        NOW - 51 * HOUR,
    )
    assert of(found, "bronze.buyers").complete_at == NOW - 50 * HOUR
    assert of(found, "bronze.products").complete_at == NOW - 9000 * HOUR
    assert of(found, "bronze.products").watermark is None


def test_rejects_of_what_was_never_read_completely_are_shown(lake: Lake) -> None:
    """Rejects are counted by entity, whether a commit has one entity or several."""
    observe(lake, "orders", 1)
    observe(lake, "buyers", 1)
    reject(lake, "orders", "orders")
    found = read_status(lake)
    assert (of(found, "bronze.orders").rejected, of(found, "bronze.orders").complete_at) == (2, None)
    assert of(found, "bronze.buyers").rejected == 0
    assert of(found, "bronze.rejected").rejected is None
    reject(lake, "buyers", "orders")
    assert of(read_status(lake), "bronze.orders").rejected == 3
    assert of(read_status(lake), "bronze.buyers").rejected == 1


def test_a_long_ledger_is_read_from_its_end_and_rejects_from_statistics(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status reads only the last hours of a ledger of a hundred thousand runs a year."""
    observe(lake, "orders", 1)
    reject(lake, "orders")
    both = (window("orders", "updated"), window("orders", "created"))
    for number in range(20):
        ran(lake, NOW - number * 24 * HOUR, *both, watermark=NOW - number * 24 * HOUR)
    read: list[tuple[str, int]] = []
    original = tables.Table.read

    def counted(table: tables.Table, *arguments: object, **more: object) -> pa.Table:
        rows = original(table, *arguments, **more)  # type: ignore[arg-type]
        read.append((table.name, rows.num_rows))
        return rows

    monkeypatch.setattr(tables.Table, "read", counted)
    found = of(read_status(lake), "bronze.orders")
    assert (found.complete_at, found.watermark, found.rejected) == (NOW, NOW, 1)
    assert {name for name, _ in read} == {RUNS}
    assert sum(rows for _, rows in read) <= 2


def test_the_command_shows_every_tables_state(lake: Lake) -> None:
    """Each table has one line: rows, last observation, watermark, last complete run, age, rejects."""
    observe(lake, "orders", 1, 2, 3)
    observe(lake, "buyers", 1)
    reject(lake, "orders", "orders")
    at, reached = NOW - 5 * HOUR, NOW - 6 * HOUR
    ran(lake, at, window("orders", "updated"), watermark=reached)
    printed = succeed(environ_of(lake), "lake", "status").splitlines()
    head = next(line for line in printed if "last observation" in line)
    assert re.split(r"\s{2,}", head.strip()) == [
        "table", "rows", "version", "released", "files", "MB", "last observation", "watermark",
        "last complete run", "age", "rejected",
    ]  # fmt: skip
    said = {line.split()[0]: re.split(r"\s{2,}", line.strip()) for line in printed if "bronze." in line}
    stamps = [f"{when:%Y-%m-%d %H:%M:%S}" for when in (NOW, reached, at)]
    orders = said["bronze.orders"]
    assert (orders[1], orders[6:]) == ("3", [*stamps, "5 h", "2"])
    buyers = said["bronze.buyers"]
    assert (buyers[1], buyers[6:]) == ("1", [stamps[0], "·", "·", "·", "0"])
