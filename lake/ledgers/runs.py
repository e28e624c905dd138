"""Run: one ingest and its receipt, a row of ``ops.runs``. Progress is derived from receipts alone."""

import uuid
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from lake.delta.table import Table, create_table, open_table, table_exists
from lake.paths import Lake

RUNS = "ops.runs"
INSTANT = pa.timestamp("us", "UTC")
WINDOW = pa.struct(
    [
        pa.field("entity", pa.string(), False),
        pa.field("by", pa.string(), False),
        pa.field("since", INSTANT),
        pa.field("until", INSTANT),
        pa.field("expected", pa.int64()),
        pa.field("seen", pa.int64(), False),
        pa.field("pages_expected", pa.int64()),
        pa.field("pages_fetched", pa.int64(), False),
        pa.field("pages_failed", pa.int64(), False),
        pa.field("complete", pa.bool_(), False),
        pa.field("reason", pa.string()),
    ]
)
# A ledger is read from its end, further back only where nothing is found.
SPANS = (timedelta(hours=2), timedelta(days=7), timedelta(days=36500))
SCHEMA = pa.schema(
    [
        pa.field("run_id", pa.string(), False),
        pa.field("kind", pa.string(), False),
        pa.field("verdict", pa.string(), False),
        pa.field("started_at", INSTANT, False),
        pa.field("finished_at", INSTANT, False),
        pa.field("source", pa.string(), False),
        pa.field("watermark", INSTANT),
        pa.field("source_time", INSTANT),
        pa.field("windows", pa.list_(WINDOW), False),
        pa.field("appended", pa.map_(pa.string(), pa.int64()), False),
        pa.field("rejected", pa.int64(), False),
        pa.field("requests", pa.int64(), False),
        pa.field("retries", pa.int64(), False),
        pa.field("waited_seconds", pa.float64(), False),
        pa.field("reason", pa.string()),
    ]
)


class WindowReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """What one window asked for and got.

    ``by`` is the source's time it cuts (``created``, ``updated``) or ``list`` for a
    whole list; ``expected`` is the source's own total, ``seen`` the distinct ids that
    arrived. It is complete when every page arrived and the two agree.
    """

    entity: str
    by: str
    since: datetime | None
    until: datetime | None
    expected: int | None
    seen: int
    pages_expected: int | None
    pages_fetched: int
    pages_failed: int
    complete: bool
    reason: str | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One row of ``ops.runs``.

    ``watermark``: the source's time through which all changes are held, by the changes
    themselves; ``source_time``: the source's clock when the run ended.
    """

    run_id: str
    kind: str
    verdict: str
    started_at: datetime
    finished_at: datetime
    source: str
    watermark: datetime | None
    source_time: datetime | None
    windows: tuple[WindowReceipt, ...]
    appended: dict[str, int]
    rejected: int
    requests: int
    retries: int
    waited_seconds: float
    reason: str | None = None


def id_of_run(began_at: datetime) -> str:
    """Return how the id of a run begins that begins then: ids are in the order of their runs. Pure."""
    return f"{began_at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def new_run_id(now: datetime) -> str:
    """Return the id of a run that begins now; another one each time."""
    return f"{id_of_run(now)}-{uuid.uuid4().hex[:8]}"


def write_run(lake: Lake, run: Run) -> None:
    """Append the receipt."""
    row = msgspec.structs.asdict(run)
    row["windows"] = [msgspec.structs.asdict(window) for window in run.windows]
    row["appended"] = sorted(run.appended.items())
    create_table(lake, RUNS, SCHEMA).append(pa.Table.from_pylist([row], schema=SCHEMA))


def last_runs(lake: Lake, *, by: datetime | None = None) -> tuple[Run | None, Run | None]:
    """Return the newest run, and the newest complete one; ``by``: of those that had ended then."""
    if not table_exists(lake, RUNS):
        return None, None
    table = open_table(lake, RUNS)
    newest = table.maximum("finished_at")
    if not isinstance(newest, datetime):
        return None, None
    # Statistics cut an instant to the millisecond: the newest run ends a little after that.
    until = newest + timedelta(milliseconds=1) if by is None else by
    for back in SPANS:
        ended = pc.field("finished_at")
        runs = read_runs(table, (ended >= until - back) & (ended <= until))
        complete = next((run for run in runs if run.verdict == "complete"), None)
        if complete:
            break
    return next(iter(runs), None), complete


def list_runs(lake: Lake, *, since: datetime | None = None) -> list[Run]:
    """Return the runs that ended at or after ``since``, newest first."""
    if not table_exists(lake, RUNS):
        return []
    where = pc.field("finished_at") >= (since or datetime(1970, 1, 1, tzinfo=UTC))
    return read_runs(open_table(lake, RUNS), where)


def watermark(lake: Lake, *, left_out: Collection[str] = ()) -> datetime | None:
    """Return the source's time through which complete runs, but those ``left_out``, hold every change.

    Each complete run knows it, so the newest of them is looked for, near first.
    """
    if not table_exists(lake, RUNS):
        return None
    table = open_table(lake, RUNS)
    newest = table.maximum("finished_at")
    if not isinstance(newest, datetime):
        return None
    for back in SPANS:
        where = (pc.field("verdict") == "complete") & pc.field("watermark").is_valid()
        where &= ~pc.field("run_id").isin(pa.array(left_out, pa.string()))
        rows = table.read(["watermark"], where & (pc.field("finished_at") >= newest - back))
        found: datetime | None = pc.max(rows["watermark"]).as_py()
        if found:
            return found
    return None


def newest_run(lake: Lake, matches: Callable[[Run], bool]) -> Run | None:
    """Return the newest run that matches, looked for from the ledger's end."""
    if not table_exists(lake, RUNS):
        return None
    table = open_table(lake, RUNS)
    newest = table.maximum("finished_at")
    if not isinstance(newest, datetime):
        return None
    for back in SPANS:
        runs = read_runs(table, pc.field("finished_at") >= newest - back)
        if found := next(filter(matches, runs), None):
            return found
    return None


def windows_from_the_end(lake: Lake) -> Iterator[pa.Table]:
    """Yield the windows of all runs with their run's ``finished_at`` and ``watermark``, newest runs first.

    Each portion is read when it is asked for; the last one is all that is older.
    """
    if not table_exists(lake, RUNS):
        return
    table = open_table(lake, RUNS)
    newest = table.maximum("finished_at")
    if not isinstance(newest, datetime):
        return
    before = newest + timedelta(days=1)
    for back in SPANS:
        where = (pc.field("finished_at") >= newest - back) & (pc.field("finished_at") < before)
        yield windows_of(table.read(["finished_at", "watermark", "windows"], where))
        before = newest - back


def windows_of(runs: pa.Table) -> pa.Table:
    """Return the runs' windows, a row each, with their run's ``finished_at`` and ``watermark``. Pure."""
    nested = runs["windows"].combine_chunks()
    flat = pa.Table.from_struct_array(pc.list_flatten(nested))
    owners = runs.select(["finished_at", "watermark"]).take(pc.list_parent_indices(nested))
    for name in owners.column_names:
        flat = flat.append_column(name, owners[name])
    return flat


def complete_runs(lake: Lake, *, kind: str) -> set[str]:
    """Return the ids of the complete runs of a kind."""
    if not table_exists(lake, RUNS):
        return set()
    where = (pc.field("verdict") == "complete") & (pc.field("kind") == kind)
    return set(open_table(lake, RUNS).read(["run_id"], where)["run_id"].to_pylist())


def read_runs(table: Table, where: pc.Expression) -> list[Run]:
    """Return the ledger's rows as Runs, newest first."""
    runs = [as_run(row) for row in table.read(where=where).to_pylist()]
    return sorted(runs, key=lambda run: run.finished_at, reverse=True)


def as_run(row: dict[str, Any]) -> Run:
    """Return a ledger row as a Run."""
    windows = tuple(WindowReceipt(**window) for window in row["windows"])
    return Run(**{**row, "windows": windows, "appended": dict(row["appended"])})
