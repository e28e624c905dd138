"""Run: one ingest and its receipt, a row of ``ops.runs``. Progress is derived from receipts alone."""

import uuid
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from lake.delta.ledger import Ledger
from lake.paths import Lake


class WindowReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """What the ingest asked for in one window and what arrived.

    ``by`` is the time of the source that the window cuts (``created``, ``updated``), or ``list``
    for a whole list; ``expected`` is the source's own total, ``seen`` the distinct ids that
    arrived. The window is complete if every page arrived and the two agree.
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

    ``watermark`` is the source's time through which the lake has every change, read from the
    changes themselves; ``source_time`` is the source's clock when the run ended.
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


LEDGER = Ledger("ops.runs", Run, order_by="finished_at")
RUNS = LEDGER.name


def id_of_run(began_at: datetime) -> str:
    """Return the first part of the id of a run that began then; ids sort by that time. Pure."""
    return f"{began_at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def new_run_id(now: datetime) -> str:
    """Return a new id, different each time, for a run that begins now."""
    return f"{id_of_run(now)}-{uuid.uuid4().hex[:8]}"


def write_run(lake: Lake, run: Run) -> None:
    """Append the receipt."""
    LEDGER.append(lake, [run])


def last_runs(lake: Lake, *, by: datetime | None = None) -> tuple[Run | None, Run | None]:
    """Return the newest run and the newest complete one, of all or of those that had ended ``by`` then."""
    newest = None
    for run in LEDGER.newest_first(lake, until=by):
        newest = newest or run
        if run.verdict == "complete":
            return newest, run
    return newest, None


def list_runs(lake: Lake, *, since: datetime | None = None) -> list[Run]:
    """Return the runs that ended at or after ``since``, newest first."""
    where = None if since is None else pc.field("finished_at") >= since
    return LEDGER.read(lake, where)[::-1]


def watermark(lake: Lake, *, left_out: Collection[str] = ()) -> datetime | None:
    """Return the source's time through which the complete runs, except those ``left_out``, have every change.

    Every complete run records it, so the search ends at the newest of them.
    """
    where = (pc.field("verdict") == "complete") & pc.field("watermark").is_valid()
    where &= ~pc.field("run_id").isin(pa.array(left_out, pa.string()))
    for rows in LEDGER.portions(lake, ["watermark"], where):
        newest: datetime | None = pc.max(rows["watermark"]).as_py()
        if newest:
            return newest
    return None


def newest_run(lake: Lake, matches: Callable[[Run], bool]) -> Run | None:
    """Return the newest run that matches; None if there is none."""
    return next(filter(matches, LEDGER.newest_first(lake)), None)


def windows_from_the_end(lake: Lake) -> Iterator[pa.Table]:
    """Yield the windows of all runs with their run's ``finished_at`` and ``watermark``, newest runs first.

    A portion is read only if the caller asks for it; the last one is all that is older.
    """
    for runs in LEDGER.portions(lake, ["finished_at", "watermark", "windows"]):
        yield windows_of(runs)


def windows_of(runs: pa.Table) -> pa.Table:
    """Return the runs' windows, a row each, with their run's ``finished_at`` and ``watermark``. Pure."""
    windows = runs["windows"].combine_chunks()
    flat = pa.Table.from_struct_array(pc.list_flatten(windows))
    owners = runs.select(["finished_at", "watermark"]).take(pc.list_parent_indices(windows))
    for name in owners.column_names:
        flat = flat.append_column(name, owners[name])
    return flat


def complete_runs(lake: Lake, *, kind: str) -> set[str]:
    """Return the ids of the complete runs of a kind."""
    table = LEDGER.open(lake)
    if table is None:
        return set()
    where = (pc.field("verdict") == "complete") & (pc.field("kind") == kind)
    return set(table.read(["run_id"], where)["run_id"].to_pylist())


def run_ids(lake: Lake) -> set[str]:
    """Return the ids of the runs that have a receipt."""
    table = LEDGER.open(lake)
    return set(table.read(["run_id"])["run_id"].to_pylist()) if table else set()
