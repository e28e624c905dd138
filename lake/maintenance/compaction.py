"""Compaction: fewer, larger files in bronze and the ledgers, with the same rows and the same change feed.

Only these tables grow by one small file per commit. Builds write silver and gold one file per
month, and a commit to them could conflict with a build, so compaction leaves them alone. After
bronze was compacted, a release is published with the same tables as the one before it. So the last
release of a day, which is retained for long, references compacted files and not hundreds of
small ones.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from io import BytesIO
from typing import TypeVar

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import structlog
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from lake.clock import shop_day
from lake.delta.checksum import is_intact
from lake.delta.commits import LiveFile, commit_files, in_place_of, live_files, read_live
from lake.delta.damage import REPAIR
from lake.delta.files import Files
from lake.delta.log_files import files_of_entries, list_log
from lake.delta.parquet import GROUP, encoded
from lake.delta.tables import open_table
from lake.delta.writer import ROOM, new_path
from lake.errors import CommitConflict, LakeError, TableDamaged, is_disk_full
from lake.maintenance.damaged_tables import DamagedTables, tables_of
from lake.paths import Lake
from lake.query.catalogue import publish, refresh_catalogue, show_ledgers
from lake.releases.release import COMPACTION, Release, current_release

log = structlog.get_logger()
Result = TypeVar("Result")

COMPACTED = ("bronze", "ops")
# Small files tolerated in a ledger, or in today's partition, before compaction.
MANY = 32
# Bytes from which a file is left alone: retained releases would need its rows twice.
TARGET = 1024 * 1024
# Bytes below which a file is small.
SMALL = TARGET // 4
# Share of the largest file of a finished day that its small files must reach to be compacted with it.
WORTH = 0.25
# Attempts to commit while other writers commit to the same table.
TRIES = 20
# Treat a day as finished this long before midnight, so that its last release references compacted files.
BEFORE_MIDNIGHT = timedelta(minutes=15)


class Merge(msgspec.Struct, frozen=True):
    """A merged file, and the group of files whose rows it has."""

    file: LiveFile
    group: tuple[LiveFile, ...]


class Compacted(msgspec.Struct, frozen=True):
    """The number of files of a table before and after its compaction."""

    table: str
    files_before: int
    files_after: int


def compact(lake: Lake, *, now: datetime) -> list[Compacted]:
    """Compact the small files of each finished day, and of tables with many; return the compacted tables.

    Then publish a release with the compacted files of bronze, including those of a compaction
    that was killed before it published. A table for whose files the disk has no space is left as it is.
    Raises TablesLeftOut, after all other tables, if the log of a table is damaged.
    """
    damaged = DamagedTables()
    done = compact_tables(lake, damaged, now=now)
    damaged.refuse(done)
    return done


def compact_tables(lake: Lake, damaged: DamagedTables, *, now: datetime) -> list[Compacted]:
    """Compact as ``compact`` does, except the damaged tables; return the compacted ones."""
    today = shop_day(now + BEFORE_MIDNIGHT).isoformat()
    names = [name for layer in COMPACTED for name in tables_of(lake, layer)]
    results = [damaged.unless_damaged(name, partial(compact_if_space, lake, name, today)) for name in names]
    done = [compacted for compacted in results if compacted]
    if unless_full("ops.releases", lambda: publish_compacted(lake, now=now)):
        return done
    if any(compacted.table.startswith("ops.") for compacted in done):
        show_ledgers(lake)
    else:
        unless_full("lake.duckdb", lambda: show_newest(lake))
    return done


def show_newest(lake: Lake) -> None:
    """Write the catalogue if a compaction was killed after it had published."""
    try:
        refresh_catalogue(lake)
    except LakeError as error:  # the release can't be opened until `just repair`, or until the next build
        log.warning("maintenance.catalogue_not_written", reason=str(error))


def compact_if_space(lake: Lake, name: str, today: str) -> Compacted | None:
    """Compact a table's small files; None, with a warning in the log, if the disk is full."""
    return unless_full(name, lambda: compact_table(lake, name, today))


def unless_full(name: str, write: Callable[[], Result]) -> Result | None:
    """Return the result of a write to a table or file; None, with a warning in the log, if the disk is full.

    Nothing is lost: what was there stays, and the next maintenance tries again.
    """
    try:
        return write()
    except Exception as error:  # each library has a class of its own for it
        if not is_disk_full(error):
            raise
        log.warning("maintenance.disk_full", name=name, next="free space; the next maintenance tries again")
        return None


def compact_table(lake: Lake, name: str, today: str) -> Compacted | None:
    """Compact a table's small files; None if there are too few, or another writer was faster.

    A group with a damaged file is left as it is. Raises TableDamaged if the table's log is damaged.
    """
    open_table(lake, name)  # refuses a damaged log
    delta = DeltaTable(lake.uri(name))
    live = read_live(delta)
    partitions = crowded_partitions({file.path: file.size for file in live}, today)
    groups = group_files([file for file in live if partition_of(file.path) in partitions])
    # The files are written into the table's folder, so that vacuum finds those of a killed compaction.
    merges = write_merges(Files(lake.uri(name)), delta, groups)
    if not merges:
        return None
    if not commit_merged(lake, name, merges):
        log.info("maintenance.compaction_conflicted", table=name)
        return None
    replaced = sum(len(merge.group) for merge in merges)
    compacted = Compacted(name, len(live), len(live) - replaced + len(merges))
    log.info("maintenance.compacted", table=name, before=compacted.files_before, after=compacted.files_after)
    return compacted


def group_files(files: Iterable[LiveFile]) -> list[list[LiveFile]]:
    """Return groups of files to merge: of one partition, and about ``TARGET`` bytes together. Pure."""
    by_partition: dict[str, list[list[LiveFile]]] = {}
    for file in files:
        if file.size < TARGET:
            groups = by_partition.setdefault(partition_of(file.path), [[]])
            if sum(member.size for member in groups[-1]) >= TARGET:
                groups.append([])
            groups[-1].append(file)
    return [group for groups in by_partition.values() for group in groups if len(group) > 1]


def write_merges(folder: Files, delta: DeltaTable, groups: Iterable[Sequence[LiveFile]]) -> list[Merge]:
    """Write the files of the groups that can be merged; if one can't be written, delete the others."""
    merges: list[Merge] = []
    try:
        for group in groups:
            if file := write_merged(folder, delta, group):
                merges.append(Merge(file, tuple(group)))
    except BaseException:
        discard(folder, [merge.file for merge in merges])
        raise
    return merges


def discard(folder: Files, merged: Iterable[LiveFile]) -> None:
    """Delete merged files that no commit has; what can't be deleted is left to vacuum."""
    with suppress(OSError):
        folder.delete(file.path for file in merged)


def write_merged(folder: Files, delta: DeltaTable, group: Sequence[LiveFile]) -> LiveFile | None:
    """Write the rows of a group's files into one file, which readers see only after a commit.

    Return None if an erasure has changed one of the group's files in between, or one of them is damaged.
    A later erasure finds the new file too.
    """
    schema = pa.schema(delta.schema().to_arrow())
    contents = read_files(folder, group)
    tables = []
    for file, content in zip(group, contents, strict=True):
        rows = intact_rows(file.path, content, schema)
        if rows is None:
            log.warning("maintenance.damaged_file", place=folder.place, file=file.path, next=REPAIR)
            return None
        tables.append(rows)
    rows = pa.concat_tables(tables, promote_options="default")
    content = encoded(rows, rows_in_group=None if group[0].partition else GROUP, metadata=ROOM)
    merged = in_place_of(group, path=new_path(partition_of(group[0].path), content), size=len(content))
    folder.create(merged.path, content)
    if read_files(folder, group) == contents:
        return merged
    discard(folder, [merged])
    return None


def read_files(folder: Files, group: Iterable[LiveFile]) -> list[bytes]:
    """Return the content of each file of a group; of a missing or unreadable file nothing."""
    return [folder.read_if_possible(file.path) or b"" for file in group]


def intact_rows(path: str, content: bytes, schema: pa.Schema) -> pa.Table | None:
    """Return the rows of a file with the table's types; None if it is damaged. Pure."""
    if not is_intact(path, content):
        return None
    try:
        return with_declared_types(pq.read_table(BytesIO(content), use_threads=False), schema)
    except (pa.ArrowException, OSError):  # it has no checksum
        return None


def with_declared_types(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a file's rows with the table's types; a file older than a column lacks that column. Pure."""
    own = pa.schema([field for field in schema if field.name in rows.schema.names])
    return rows.select(own.names).cast(own)


def commit_merged(lake: Lake, name: str, merges: Sequence[Merge]) -> bool:
    """Replace the groups by their merged files in one commit; False if a file of a group was removed before.

    The commit is based on the exact version that contains all these files. Otherwise delta-rs
    would accept two compactions of the same files, and their rows would be in the table twice.
    If no commit has the merged files, they are deleted.
    """
    merged = [merge.file for merge in merges]
    replaced = [file for merge in merges for file in merge.group]
    tried: list[int] = []
    try:
        for _ in range(TRIES):
            open_table(lake, name)  # refuses a damaged log
            delta = DeltaTable(lake.uri(name))
            live = live_files(delta).keys()
            if tried and {file.path for file in merged} <= live:
                return True  # by a commit whose response was lost
            if not {file.path for file in replaced} <= live:
                return False
            tried.append(delta.version())
            with suppress(CommitFailedError):
                commit_files(delta, merged, gone=replaced, is_durable=lake.durable)
                return True
        return False
    finally:
        if not tried or not may_be_committed(lake, name, merged, after=tried[0]):
            discard(Files(lake.uri(name)), merged)


def may_be_committed(lake: Lake, name: str, merged: Iterable[LiveFile], *, after: int) -> bool:
    """Return True if a commit after a version has one of the files, or may have.

    In an object store a commit may have succeeded although its response was lost: vacuum decides later.
    """
    place = lake.uri(name)
    if not lake.is_local:
        return True
    try:
        added = files_of_entries(place, range(after + 1, list_log(place).head + 1))
    except (OSError, msgspec.DecodeError):
        return True
    return not {f"{place}/{file.path}" for file in merged}.isdisjoint(added)


def crowded_partitions(files: Mapping[str, int], today: str) -> set[str]:
    """Return the partitions whose small files are to be compacted, "" for a table without partitions. Pure.

    ``files`` holds the size in bytes of each file by its path.
    """
    sizes: defaultdict[str, list[int]] = defaultdict(list)
    for path, size in files.items():
        if size < TARGET:
            sizes[partition_of(path)].append(size)
    return {
        partition
        for partition, own in sizes.items()
        if is_crowded(own, is_finished=is_finished(partition, today))
    }


def is_finished(partition: str, today: str) -> bool:
    """Return True for the partition of a day before today. Pure."""
    _, is_of_day, day = partition.partition("observed_on=")
    return bool(is_of_day) and day < today


def is_crowded(sizes: Iterable[int], *, is_finished: bool) -> bool:
    """Return True if a partition has too many small files, or is finished and worth compaction. Pure."""
    ordered = sorted(sizes)
    small = [size for size in ordered if size < SMALL]
    if len(small) > MANY:
        return True
    *others, largest = ordered
    is_worth = sum(size for size in others if size < SMALL) >= WORTH * largest
    return is_finished and len(small) > 1 and is_worth


def partition_of(path: str) -> str:
    """Return the folder of a file, which names its partition; empty without one. Pure."""
    return path.rpartition("/")[0]


def publish_compacted(lake: Lake, *, now: datetime) -> Release | None:
    """Publish a release with the current release's tables and the compacted files of bronze; return it.

    A bronze table with rows that no build has consumed keeps its consumed version. Return None if no
    other table was compacted, a table is damaged, a hold is on, or another process publishes at the
    same time.
    """
    current = current_release(lake)
    if current is None or current.is_held:
        return None
    try:
        heads = {name: open_table(lake, name) for name in current.consumed}
        merged = {
            name: table.version
            for name, table in heads.items()
            if table.version > (consumed := current.consumed[name])
            and not table.appended("id", after=consumed)
        }
    except TableDamaged as error:  # builds refuse it too, until it is repaired
        log.warning("maintenance.not_published", reason=str(error))
        return None
    if not merged:
        return None
    release = msgspec.structs.replace(
        current,
        release=current.release + 1,
        published_at=max(now, current.published_at),  # a build may have published after ``now``
        kind=COMPACTION,
        parent=current.release,
        consumed=current.consumed | merged,
        digests=current.digests | {name: heads[name].digest() for name in merged},
        moved=(),
    )
    try:
        release = publish(lake, release)
    except CommitConflict as error:
        log.info("maintenance.publish_conflicted", reason=str(error))
        return None
    log.info("maintenance.published", release=release.release, kind=release.kind)
    return release
