"""Maintenance: compaction, log clean-up, checkpoints, vacuum. It stops nobody and needs no lock.

Only bronze and the ledgers are compacted, for they grow by a small file at a time.
Silver and gold are written a file a month, and a commit to them would be in the way
of a build: nothing here commits to them. Vacuum deletes files without a commit, so
that a lake in which nothing happens does not change.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa
import structlog
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from lake.catalogue import FAILURES, write_catalogue
from lake.parquet import writer_properties
from lake.paths import LAYERS, Lake
from lake.release import current_release, list_releases
from lake.retention import (
    GRACE,
    UNDER_WAY,
    Log,
    Stored,
    deletable,
    feed_from,
    kept_releases,
    kept_versions,
    needless,
    needs,
    openable,
    wanted_checkpoints,
)
from lake.settings import LakeSettings
from lake.store import Folder, live_files
from lake.table import table_exists
from lake.tags import read_tags

log = structlog.get_logger()

COMPACTED = ("bronze", "ops")
# So many files may a ledger, or the partition of a day that is not over, consist of.
MANY = 32
# What is larger is left alone: an ingest's own commits are, and kept releases would hold them twice.
TARGET = 1024 * 1024
# Who listed a log before its newest checkpoint was there reads what that one replaces.
SETTLED = timedelta(hours=1)


class Compacted(msgspec.Struct, frozen=True):
    """What became of a table's small files."""

    table: str
    files_before: int
    files_after: int


class Reclaimed(msgspec.Struct, frozen=True):
    """Files of a table that no kept release needs: how many, and their bytes."""

    table: str
    files: int
    bytes: int


class Size(msgspec.Struct, frozen=True):
    """A table's bytes: at its head, kept for releases, needed by nobody; ``log`` in bytes and entries."""

    table: str
    files: int
    live: int
    retained: int
    reclaimable: int
    log: int
    log_entries: int

    @property
    def total(self) -> int:
        """All that the table's folder holds."""
        return self.live + self.retained + self.reclaimable + self.log


class Keeper:
    """Knows which versions of which table stay, by the releases at one moment; ``now`` is handed in."""

    def __init__(self, lake: Lake, settings: LakeSettings, *, now: datetime) -> None:
        releases = list_releases(lake)
        tagged = set(read_tags(lake).values())
        kept = kept_releases(
            releases,
            tagged=tagged,
            now=now - GRACE,
            keep_days=settings.keep_days,
            keep_all_hours=settings.keep_all_hours,
        )
        self._lake = lake
        self._versions = kept_versions(kept)
        self._feed = feed_from(releases)
        self.now = now
        # Whoever opened a version while it was the newest may read on for as long as it would be kept.
        self.before = now - timedelta(hours=settings.keep_all_hours)

    def open(self, table: str) -> Folder:
        """Look at a table's folder as it is now."""
        return Folder(DeltaTable(self._lake.uri(table)))

    def kept(self, table: str, found: Log) -> set[int]:
        """Return the versions that stay: what releases name, the feed a build reads, the head."""
        head = max(found.commits)
        feed = range(self._feed[table], head + 1) if table in self._feed else ()
        return {*self._versions.get(table, ()), *feed, head} & openable(found)


def compact(lake: Lake, *, now: datetime) -> list[Compacted]:
    """Merge small files: of each day that is over, and of what has very many; return what changed."""
    names = [name for layer in COMPACTED for name in tables(lake, layer)]
    found = [compact_table(lake, name, now.astimezone(UTC).date()) for name in names]
    done = [one for one in found if one]
    if has_ledgers(done):
        show_ledgers(lake)
    return done


def has_ledgers(done: Iterable[Compacted]) -> bool:
    """True where a ledger is among the tables whose files were merged. Pure."""
    return any(one.table.startswith("ops.") for one in done)


def show_ledgers(lake: Lake) -> None:
    """Let the catalogue name the merged files of the ledgers: vacuum deletes the others in a day."""
    release = current_release(lake)
    try:
        if release:
            write_catalogue(lake, release)
    except FAILURES as error:
        log.warning("maintenance.catalogue_not_written", reason=str(error))


def compact_table(lake: Lake, name: str, today: date) -> Compacted | None:
    """Merge a table's small files, if it is worth it; rows and their order stay the same."""
    delta = DeltaTable(lake.uri(name))
    days = crowded(live_files(delta), today)
    if not days:
        return None
    filters: Any = None
    if max(days) < today.isoformat() and "" not in days:
        filters = [("observed_on", "<", today.isoformat())]
    before = len(delta.file_uris())
    try:
        delta.optimize.compact(
            partition_filters=filters,
            target_size=TARGET,
            max_concurrent_tasks=1,
            writer_properties=writer_properties(pa.schema(delta.schema().to_arrow())),
        )
    except CommitFailedError as error:
        log.warning("maintenance.compaction_met_another", table=name, error=str(error).split("\n")[0])
        return None
    done = Compacted(name, before, len(DeltaTable(lake.uri(name)).file_uris()))
    log.info("maintenance.compacted", table=name, before=done.files_before, after=done.files_after)
    return done


def crowded(files: dict[str, int], today: date) -> set[str]:
    """Return the days (empty: not partitioned) that have too many small files. Pure."""
    small = Counter(day_of(path) for path, size in files.items() if size < TARGET // 4)
    return {day for day, count in small.items() if count > (1 if day and day < today.isoformat() else MANY)}


def day_of(path: str) -> str:
    """Return the day that a file's path names, empty without one. Pure."""
    folder = path.rpartition("/")[0]
    return folder.partition("observed_on=")[2]


def clean(keeper: Keeper, name: str) -> int:
    """Delete the log entries that no kept version needs; return how many.

    Nothing goes that is young: a writer under way compares its commit with all since it began.
    Nor does anything go for the sake of a young checkpoint.
    """
    folder = keeper.open(name)
    found = folder.log
    settled = frozenset(at for at in found.checkpoints if is_settled(keeper, folder, at))
    known = Log(found.commits, settled)
    gone = folder.entries(needless(known, keeper.kept(name, found), head=max(found.commits)))
    old = [file for file in gone if file.modified < keeper.before]
    folder.delete(old)
    if old:
        log.info("maintenance.cleaned", table=name, entries=len(old))
    return len(old)


def is_settled(keeper: Keeper, folder: Folder, checkpoint: int) -> bool:
    """True where a checkpoint is there for longer than anybody may be at a log he listed before."""
    files = folder.entries(Log(frozenset(), frozenset({checkpoint})))
    return all(file.modified <= keeper.now - SETTLED for file in files)


def checkpoint(keeper: Keeper, name: str) -> int:
    """Make the checkpoints that readers, and the next clean-up, start from; return how many."""
    folder = keeper.open(name)
    found = folder.log
    wanted = wanted_checkpoints(found, keeper.kept(name, found), head=max(found.commits))
    for version in wanted:
        folder.checkpoint(version)
    if wanted:
        log.info("maintenance.checkpointed", table=name, versions=wanted)
    return len(wanted)


def vacuum(lake: Lake, settings: LakeSettings, *, now: datetime, dry_run: bool = True) -> list[Reclaimed]:
    """Delete the files that no kept release needs and nobody can be at; return what there was.

    A dry run deletes nothing.
    """
    keeper = Keeper(lake, settings, now=now)
    found: list[Reclaimed] = []
    for name in every_table(lake):
        with beside_others(name):
            found.append(vacuum_table(keeper, name, dry_run=dry_run))
    return [done for done in found if done.files]


def vacuum_table(keeper: Keeper, name: str, *, dry_run: bool) -> Reclaimed:
    """Delete what one table needs no more; with ``dry_run`` only count it."""
    folder = keeper.open(name)
    need = needs(folder.segments(), keeper.kept(name, folder.log))
    under_way = min(keeper.before, keeper.now - UNDER_WAY)
    gone = [
        *deletable(folder.data, need, removed_before=keeper.before, written_before=under_way),
        *leftovers(folder.log_files, under_way),
    ]
    done = Reclaimed(name, len(gone), sum(file.size for file in gone))
    if gone and not dry_run:
        folder.delete(gone)
        log.info("maintenance.vacuumed", table=name, files=done.files, bytes=done.bytes)
    return done


def leftovers(files: Iterable[Stored], before: datetime) -> list[Stored]:
    """Return what killed writers left in a log: files that were to be renamed. Pure."""
    return [file for file in files if (".tmp" in file.path or "#" in file.path) and file.modified < before]


def maintain(lake: Lake, settings: LakeSettings, *, now: datetime) -> list[Reclaimed]:
    """Compact, vacuum, clean up logs, make checkpoints; return what vacuum deleted.

    Vacuum comes first: it reads in the logs when a file was removed. The clean-up goes by
    checkpoints that have been there for a while: those made now serve the next one.
    """
    if not has_ledgers(compact(lake, now=now)):
        show_ledgers(lake)  # a maintenance that was killed had no time for it
    reclaimed = vacuum(lake, settings, now=now, dry_run=False)
    keeper = Keeper(lake, settings, now=now)
    for name in every_table(lake):
        with beside_others(name):
            clean(keeper, name)
            checkpoint(keeper, name)
    return reclaimed


def sizes(lake: Lake, settings: LakeSettings, *, now: datetime) -> list[Size]:
    """Return what each table takes, and for whom."""
    keeper = Keeper(lake, settings, now=now)
    return [size_of(keeper, name) for name in every_table(lake)]


def size_of(keeper: Keeper, name: str) -> Size:
    """Return what one table takes."""
    folder = keeper.open(name)
    needed = needs(folder.segments(), keeper.kept(name, folder.log)).files
    live = folder.live
    return Size(
        table=name,
        files=len(live),
        live=sum(live.values()),
        retained=sum(size for path, size in needed.items() if path not in live),
        reclaimable=sum(file.size for file in folder.data if file.path not in needed),
        log=sum(file.size for file in folder.log_files),
        log_entries=len(folder.log_files),
    )


def every_table(lake: Lake) -> list[str]:
    """Return the names of all tables."""
    return [name for layer in LAYERS for name in tables(lake, layer)]


def tables(lake: Lake, layer: str) -> list[str]:
    """Return the names of a layer's tables; one that is being made at this moment is not there yet."""
    return [name for name in lake.tables(layer) if table_exists(lake, name)]


@contextmanager
def beside_others(name: str) -> Iterator[None]:
    """Leave a table to somebody else who cleans it up at this very moment: his work is the same."""
    try:
        yield
    except FileNotFoundError as error:
        log.warning("maintenance.left_to_another", table=name, error=str(error).split("\n")[0])
