"""Maintenance: log clean-up, checkpoints, vacuum, after a compaction. It stops nobody.

Vacuum deletes files without a commit, so that a lake in which nothing happens does not change.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import msgspec
import structlog
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lake.delta.table import list_tables
from lake.maintenance.compaction import compact
from lake.maintenance.folder import Folder
from lake.maintenance.plan import (
    UNDER_WAY,
    Log,
    Stored,
    deletable,
    needless,
    needs,
    openable,
    wanted_checkpoints,
)
from lake.paths import LAYERS, Lake
from lake.query.catalogue import show_ledgers
from lake.releases.retention import GRACE, read_retention
from lake.settings import LakeSettings

log = structlog.get_logger()
Result = TypeVar("Result")
# So often is a table looked at where others clean it up at the same time.
TRIES = 3

# Who listed a log before its newest checkpoint was there reads what that one replaces.
SETTLED = timedelta(hours=1)


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
        self._lake = lake
        self._kept = read_retention(lake, settings, now=now - GRACE)
        self.now = now
        # Whoever opened a version while it was the newest may read on for as long as it would be kept.
        self.before = now - timedelta(hours=settings.keep_all_hours)

    def open(self, table: str) -> Folder:
        """Look at a table's folder as it is now."""
        return Folder(DeltaTable(self._lake.uri(table)))

    def kept(self, table: str, found: Log) -> set[int]:
        """Return the versions that stay: what releases name, the feed a build reads, the head."""
        head = max(found.commits)
        since = self._kept.feed.get(table, head)
        return {*self._kept.versions.get(table, ()), *range(since, head + 1)} & openable(found)


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
    names = every_table(lake)
    found = [beside_others(name, partial(vacuum_table, keeper, name, dry_run=dry_run)) for name in names]
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
    compact(lake, now=now)
    show_ledgers(lake)  # a maintenance that was killed had no time for it
    reclaimed = vacuum(lake, settings, now=now, dry_run=False)
    keeper = Keeper(lake, settings, now=now)
    for name in every_table(lake):
        beside_others(name, partial(clean, keeper, name))
        beside_others(name, partial(checkpoint, keeper, name))
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
    return [name for layer in LAYERS for name in list_tables(lake, layer)]


def beside_others(name: str, work: Callable[[], Result]) -> Result:
    """Work at a table that somebody else may clean up at this very moment: then once more, by a new look.

    What he took away was named by the log when it was listed. Raises where it is so every time.
    """
    for _ in range(TRIES - 1):
        try:
            return work()
        except (FileNotFoundError, DeltaError) as error:
            log.info("maintenance.met_another", table=name, error=str(error).split("\n")[0])
    return work()
