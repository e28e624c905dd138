"""Status: the lake's release, last runs and tables at this moment, read from logs and statistics alone."""

from collections import Counter
from collections.abc import Iterable, Set
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from lake.delta.table import Table
from lake.delta.tables import list_tables, open_table, table_exists
from lake.ledgers.jobs import Entry, failed_jobs
from lake.ledgers.runs import Run, last_runs, windows_from_the_end
from lake.lock import holders
from lake.paths import LAYERS, Lake
from lake.processes import Process
from lake.releases.release import Release, current_release, hold
from lake.releases.restores import refuse_left_out
from lake.releases.uncounted import Uncounted, read_uncounted

REJECTED = "bronze.rejected"


class TableStatus(msgspec.Struct, frozen=True):
    """One table: rows and files at its head; ``released`` is the version that readers see.

    Bronze tables also have: the last observation, the end of the last run that read the entity
    completely, the source's time through which the lake has its changes, and the rejects.
    """

    table: str
    rows: int
    version: int
    released: int | None
    files: int
    bytes: int
    newest: datetime | None = None
    complete_at: datetime | None = None
    watermark: datetime | None = None
    rejected: int | None = None


class LakeStatus(msgspec.Struct, frozen=True):
    """The whole lake; ``serving`` is the number of the current release, if the status is of an older one.

    ``failed`` are the jobs of the schedule that failed when they last ended, and ``working`` is
    ``{lock: process}`` of the processes that have a lock of the lake now. ``uncounted`` are the
    records that are in no number of the release.
    """

    release: Release | None
    last_run: Run | None
    last_complete: Run | None
    tables: tuple[TableStatus, ...]
    now: datetime
    serving: int | None = None
    failed: tuple[Entry, ...] = ()
    working: dict[str, Process] = {}
    uncounted: Uncounted | None = None

    @property
    def headline(self) -> str:
        """Release, last sync, what is in no number, failed jobs, and processes with a lock; a line each."""
        failures = [job.failure for job in self.failed]
        missing = self.uncounted_line
        lines = [self.release_line, self.run_line, *filter(None, [missing]), *failures, *self.lock_lines]
        return "\n".join(lines)

    @property
    def uncounted_line(self) -> str:
        """One line about the records that are in no number; empty if there are none."""
        line = self.uncounted.line() if self.uncounted else ""
        return line and f'{line}: `just sql "from gold.uncounted_records"`, `just checks`'

    @property
    def lock_lines(self) -> list[str]:
        """One line about each process that has a lock."""
        stopped = ", which is stopped"
        return [
            f"lock {name.partition('-')[0]}: {process.text}{stopped if process.is_stopped else ''}"
            for name, process in self.working.items()
        ]

    @property
    def release_line(self) -> str:
        """One line: which release serves and how old it is."""
        if self.release is None:
            return "no release yet: `just sync` publishes the first"
        age = ago(self.now - self.release.published_at)
        line = f"release {self.release.release} ({self.release.kind}), published {age} ago"
        if self.serving is not None:
            return f"{line}; release {self.serving} serves now"
        return f"{line}; {hold(self.release)}" if self.release.is_held else line

    @property
    def run_line(self) -> str:
        """One line: when the last ingest ran and whether it was complete."""
        if self.last_run is None:
            return "no ingest yet: `just ingest full` copies the whole history"
        last = self.last_run
        line = f"last ingest {last.kind}, {last.verdict}, {ago(self.now - last.finished_at)} ago"
        if last.verdict != "complete":
            whole = self.last_complete
            line += (
                f"; last complete one {ago(self.now - whole.finished_at)} ago"
                if whole
                else "; none was complete"
            )
        return line + (f"; {last.rejected} rejected" if last.rejected else "")

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The tables as plain rows."""
        return [msgspec.structs.asdict(table) for table in self.tables]


class Progress(msgspec.Struct, frozen=True):
    """Each entity's last complete reading, watermark and rejects, read from the ledgers."""

    complete_at: dict[str, datetime]
    watermark: dict[str, datetime]
    rejected: dict[str, int]


def read_progress(lake: Lake, entities: Set[str], *, by: datetime | None = None) -> Progress:
    """Return the progress of each entity, now or ``by`` an instant, from receipts and rejects.

    The ledger is read from its end, further back only until each entity has a complete reading.
    """
    complete_at: dict[str, datetime] = {}
    reached: dict[str, datetime] = {}
    for windows in windows_from_the_end(lake):
        asked = windows.filter(pc.field("by") != "id")
        if by is not None:
            asked = asked.filter(pc.field("finished_at") <= by)
        whole = asked.group_by(["finished_at", "entity"]).aggregate([("complete", "all")])
        complete_at = newest(whole.filter(pc.field("complete_all")), "finished_at") | complete_at
        changes = asked.filter((pc.field("by") == "updated") & pc.field("watermark").is_valid())
        reached = newest(changes, "watermark") | reached
        if entities <= complete_at.keys() and reached:
            break
    return Progress(complete_at, reached, read_rejected(lake, by))


def read_rejected(lake: Lake, by: datetime | None) -> dict[str, int]:
    """Return ``{entity: objects}`` refused ever, or ``by`` an instant."""
    if not table_exists(lake, REJECTED):
        return {}
    table = open_table(lake, REJECTED)
    if by is None:
        return table.counts("entity")
    return Counter(table.read(["entity"], pc.field("fetched_at") <= by)["entity"].to_pylist())


def newest(windows: pa.Table, column: str) -> dict[str, datetime]:
    """Return the greatest value of a column by entity. Pure."""
    found = windows.group_by("entity").aggregate([(column, "max")]).to_pylist()
    return {row["entity"]: row[f"{column}_max"] for row in found}


def read_status(lake: Lake, release: Release | None = None) -> LakeStatus:
    """Return the present status, or that of an older release when it was published.

    An empty place has a status too.
    """
    now, current = datetime.now(UTC), current_release(lake)
    if release and current and release.release != current.release:
        return read_past(lake, release, current, now)
    last_run, last_complete = last_runs(lake)
    tables = [open_table(lake, name) for layer in LAYERS for name in list_tables(lake, layer)]
    progress = read_progress(lake, entities_of(tables))
    released = {**current.tables, **current.consumed} if current else {}
    return LakeStatus(
        release=current,
        last_run=last_run,
        last_complete=last_complete,
        tables=tuple(table_status(table, released.get(table.name), progress) for table in tables),
        now=now,
        failed=failed_jobs(lake, current, now=now),
        working=holders(lake),
        uncounted=read_uncounted(lake, current) if current else None,
    )


def read_past(lake: Lake, release: Release, current: Release, now: datetime) -> LakeStatus:
    """Return the status when an older release was published, from ledger rows up to that instant."""
    refuse_left_out(lake, release)
    last_run, last_complete = last_runs(lake, by=release.published_at)
    named = {**release.tables, **release.consumed}
    names = sorted(named, key=lambda name: (LAYERS.index(name.split(".")[0]), name))
    tables = [open_table(lake, name, named[name]) for name in names]
    progress = read_progress(lake, entities_of(tables), by=release.published_at)
    return LakeStatus(
        release=release,
        last_run=last_run,
        last_complete=last_complete,
        tables=tuple(table_status(table, named[table.name], progress) for table in tables),
        now=now,
        serving=current.release,
        uncounted=read_uncounted(lake, release),
    )


def entities_of(tables: Iterable[Table]) -> set[str]:
    """Return the entities that the tables have observations of. Pure."""
    return {entity for table in tables if (entity := entity_of(table))}


def entity_of(table: Table) -> str | None:
    """Return the entity of a table's observations; None if it has no own entity, as an order's lines."""
    layer, name = table.name.split(".")
    is_entity = layer == "bronze" and table.name != REJECTED and "payload" in table.schema.names
    return name if is_entity else None


def table_status(table: Table, released: int | None, progress: Progress) -> TableStatus:
    """Return one table's status at its open version, without reading a row."""
    files = table.files()
    last = table.maximum("fetched_at") if "fetched_at" in table.schema.names else None
    entity = entity_of(table)
    return TableStatus(
        table=table.name,
        rows=sum(file.rows for file in files),
        version=table.version,
        released=released,
        files=len(files),
        bytes=sum(file.size for file in files),
        newest=last if isinstance(last, datetime) else None,
        complete_at=progress.complete_at.get(entity) if entity else None,
        watermark=progress.watermark.get(entity) if entity else None,
        rejected=progress.rejected.get(entity, 0) if entity else None,
    )


def ago(age: timedelta) -> str:
    """Return an age in its largest unit of which there are at least two."""
    seconds = max(int(age.total_seconds()), 0)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
