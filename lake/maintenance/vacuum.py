"""Vacuum: deletion of files and log entries that no retained release needs, and checkpoints.

Neither readers nor writers wait for it. Vacuum makes no commit, so an idle lake does not change.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import msgspec
import structlog
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lake.delta.checksum_file import SUFFIX
from lake.errors import TableDamaged
from lake.maintenance.compaction import compact_tables, unless_full
from lake.maintenance.damaged_tables import DamagedTables, every_table, refuse_damaged_log
from lake.maintenance.folder import Folder
from lake.maintenance.plan import (
    UNDER_WAY,
    Log,
    StoredFile,
    deletable_entries,
    deletable_files,
    missing_checkpoints,
    needed_files,
    openable_versions,
)
from lake.paths import Lake
from lake.query.catalogue import show_ledgers
from lake.releases.release import Release
from lake.releases.retention import GRACE, read_retention
from lake.settings import LakeSettings

log = structlog.get_logger()
Result = TypeVar("Result")
# Attempts per table while another process deletes its files or log entries.
TRIES = 3
# A reader that listed the log before the newest checkpoint appeared still needs the entries it replaces.
SETTLED = timedelta(hours=1)


class Reclaimed(msgspec.Struct, frozen=True):
    """The number and the bytes of a table's files that no retained release needs."""

    table: str
    files: int
    bytes: int


class Size(msgspec.Struct, frozen=True):
    """A table's bytes at its head, retained for older releases, reclaimable, and in its log."""

    table: str
    files: int
    live: int
    retained: int
    reclaimable: int
    log: int
    log_entries: int

    @property
    def total(self) -> int:
        """Bytes of the table's whole folder."""
        return self.live + self.retained + self.reclaimable + self.log


class RetentionPolicy:
    """The table versions that stay, by the releases that are retained at ``now``."""

    def __init__(self, lake: Lake, settings: LakeSettings, *, now: datetime) -> None:
        self._lake = lake
        self._retention = read_retention(lake, settings, now=now - GRACE)
        self.now = now
        # A reader may use a version for this long after a newer one replaced it.
        self.before = now - timedelta(hours=settings.keep_all_hours)

    @property
    def releases(self) -> tuple[Release, ...]:
        """The retained releases, in outline, with the versions that they name."""
        return self._retention.releases

    def open(self, table: str) -> Folder:
        """Return a table's folder in its present state. Raises TableDamaged if its log is damaged."""
        refuse_damaged_log(self._lake, table, released=self.released(table))
        return Folder(DeltaTable(self._lake.uri(table)), is_durable=self._lake.durable)

    def released(self, table: str) -> int:
        """Return the greatest version that a retained release names; -1 if none does."""
        return max(self._retention.versions.get(table, ()), default=-1)

    def versions(self, table: str, entries: Log) -> set[int]:
        """Return the versions that stay: of retained releases, of the next build's changes, and the head."""
        head = max(entries.commits)
        since = self._retention.feed.get(table, head)
        versions = {*self._retention.versions.get(table, ()), *range(since, head + 1)}
        return versions & openable_versions(entries)


def clean(policy: RetentionPolicy, name: str) -> int:
    """Delete the log entries that no retained version needs; return their number.

    Young entries stay, because a writer compares its commit with all commits since it began. An
    entry that only a young checkpoint replaces stays too.
    """
    folder = policy.open(name)
    entries = folder.log
    settled = frozenset(version for version in entries.checkpoints if is_settled(policy, folder, version))
    usable = Log(entries.commits, settled)
    retained = policy.versions(name, entries)
    deletable = folder.entries(deletable_entries(usable, retained, head=max(entries.commits)))
    old = [file for file in deletable if file.modified < policy.before]
    sums = {file.path + SUFFIX for file in old}
    folder.delete([*old, *(file for file in folder.log_files if file.path in sums)])
    if old:
        log.info("maintenance.cleaned", table=name, entries=len(old))
    return len(old)


def is_settled(policy: RetentionPolicy, folder: Folder, checkpoint: int) -> bool:
    """Return True if a checkpoint is older than any listing of the log that a reader may still use."""
    files = folder.entries(Log(frozenset(), frozenset({checkpoint})))
    return all(file.modified <= policy.now - SETTLED for file in files)


def checkpoint(policy: RetentionPolicy, name: str) -> int:
    """Write the missing checkpoints, for readers and for the next clean-up; return their number."""
    folder = policy.open(name)
    entries = folder.log
    missing = missing_checkpoints(entries, policy.versions(name, entries), head=max(entries.commits))
    for version in missing:
        folder.checkpoint(version)
    if missing:
        log.info("maintenance.checkpointed", table=name, versions=missing)
    return len(missing)


def vacuum(lake: Lake, settings: LakeSettings, *, now: datetime, dry_run: bool = True) -> list[Reclaimed]:
    """Delete the files that no retained release needs and no process can use; return them by table.

    If ``dry_run`` is true, nothing is deleted. Raises TablesLeftOut, after all other tables, if the log
    of a table is damaged, and TableDamaged if a ledger is from which the retained releases are known.
    """
    policy, damaged = RetentionPolicy(lake, settings, now=now), DamagedTables()
    done = vacuum_tables(policy, every_table(lake), damaged, dry_run=dry_run)
    damaged.refuse(done)
    return done


def vacuum_tables(
    policy: RetentionPolicy, names: Iterable[str], damaged: DamagedTables, *, dry_run: bool
) -> list[Reclaimed]:
    """Vacuum the tables, except the damaged ones; return what was deleted."""
    vacuums = [(name, partial(vacuum_table, policy, name, dry_run=dry_run)) for name in names]
    results = [damaged.unless_damaged(name, partial(retry, name, work)) for name, work in vacuums]
    return [reclaimed for reclaimed in results if reclaimed and reclaimed.files]


def vacuum_table(policy: RetentionPolicy, name: str, *, dry_run: bool) -> Reclaimed:
    """Delete the files that one table no longer needs; if ``dry_run`` is true, only count them."""
    folder = policy.open(name)
    need = needed_files(folder.segments(), policy.versions(name, folder.log))
    written_before = min(policy.before, policy.now - UNDER_WAY)
    files = [
        *deletable_files(folder.data, need, removed_before=policy.before, written_before=written_before),
        *leftovers(folder.log_files, written_before),
    ]
    reclaimed = Reclaimed(name, len(files), sum(file.size for file in files))
    if files and not dry_run:
        folder.delete(files)
        log.info("maintenance.vacuumed", table=name, files=reclaimed.files, bytes=reclaimed.bytes)
    return reclaimed


def leftovers(files: Iterable[StoredFile], before: datetime) -> list[StoredFile]:
    """Return the files in a log that are older than ``before`` and of no use. Pure.

    These are the temporary files of killed writers, and the checksums of deleted checkpoints.
    """
    listed = list(files)
    paths = {file.path for file in listed}

    def is_useless(path: str) -> bool:
        is_orphan = path.endswith(SUFFIX) and path.removesuffix(SUFFIX) not in paths
        return is_orphan or ".tmp" in path or "#" in path

    return [file for file in listed if is_useless(file.path) and file.modified < before]


def maintain(lake: Lake, settings: LakeSettings, *, now: datetime) -> list[Reclaimed]:
    """Vacuum, clean up logs, compact and write checkpoints; return the files that vacuum deleted.

    Deleting comes before writing, so that a full disk heals: what vacuum frees is there for compaction.
    Vacuum precedes the clean-up, because the log entries tell it when a file was removed. The
    clean-up uses only settled checkpoints, so the ones that are written now serve a later clean-up.
    Tables with a damaged log are left as they are. Raises as ``vacuum`` does, at the end.
    """
    show_ledgers(lake)  # in case an earlier maintenance was killed before it wrote the catalogue
    damaged = DamagedTables()
    policy = RetentionPolicy(lake, settings, now=now)
    reclaimed = vacuum_tables(policy, every_table(lake), damaged, dry_run=False)
    for name in every_table(lake):
        damaged.unless_damaged(name, partial(retry, name, partial(clean, policy, name)))
    compact_tables(lake, damaged, now=now)
    policy = RetentionPolicy(lake, settings, now=now)
    for name in every_table(lake):
        write = partial(retry, name, partial(checkpoint, policy, name))
        damaged.unless_damaged(name, partial(unless_full, name, write))
    damaged.refuse(reclaimed)
    return reclaimed


def sizes(lake: Lake, settings: LakeSettings, *, now: datetime) -> list[Size]:
    """Return the size of each table, by use."""
    policy = RetentionPolicy(lake, settings, now=now)
    return [size_of(policy, name) for name in every_table(lake)]


def size_of(policy: RetentionPolicy, name: str) -> Size:
    """Return the size of one table, by use."""
    folder = policy.open(name)
    needed = needed_files(folder.segments(), policy.versions(name, folder.log)).files
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


def retry(name: str, work: Callable[[], Result]) -> Result:
    """Return the result of ``work`` on a table; repeat it if another process deleted a file that it listed.

    The last attempt raises its error.
    """
    for _ in range(TRIES - 1):
        try:
            return work()
        except (FileNotFoundError, DeltaError, TableDamaged) as error:
            log.info("maintenance.retried", table=name, error=str(error).split("\n")[0])
    return work()
