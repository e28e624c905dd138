"""Compaction: fewer, larger files of bronze and the ledgers; rows and the feed stay the same.

Only they grow by a small file at a time. Silver and gold are written a file a month, and a
commit to them would be in the way of a build: nothing here commits to them. Where bronze
is merged a release says so, which shows what the one before it showed: the last one of a day,
which is kept for long, names the merged files then, and not hundreds of small ones.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from io import BytesIO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import structlog
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from lake.clock import shop_day
from lake.delta.commits import LiveFile, commit_files, in_place_of, live_files, read_live
from lake.delta.files import Files
from lake.delta.parquet import GROUP, encoded
from lake.delta.table import list_tables, open_table
from lake.delta.writer import ROOM, new_path
from lake.errors import CommitConflict
from lake.paths import Lake
from lake.query.catalogue import publish, refresh_catalogue, show_ledgers
from lake.releases.release import COMPACTION, Release, current_release

log = structlog.get_logger()

COMPACTED = ("bronze", "ops")
# So many small files may a ledger, or the partition of a day that is not over, consist of.
MANY = 32
# What is larger is left alone: an ingest's own commits are, and kept releases would hold them twice.
TARGET = 1024 * 1024
# A file is small below this.
SMALL = TARGET // 4
# Of a day that is over, small files are merged once they are this share of what is written anew with them.
WORTH = 0.25
# So often is a commit tried anew where others commit to the table without pause.
TRIES = 20
# A day is over for this long before it ends: its last release is to name merged files.
BEFORE_MIDNIGHT = timedelta(minutes=15)


class Compacted(msgspec.Struct, frozen=True):
    """What became of a table's small files."""

    table: str
    files_before: int
    files_after: int


def compact(lake: Lake, *, now: datetime) -> list[Compacted]:
    """Merge small files: of each day that is over, and of what has very many; return what changed.

    Then a release names what was merged of bronze, now or by a compaction that was killed.
    """
    today = shop_day(now + BEFORE_MIDNIGHT).isoformat()
    names = [name for layer in COMPACTED for name in list_tables(lake, layer)]
    done = [one for name in names if (one := compact_table(lake, name, today))]
    if restate(lake, now=now):
        return done
    if any(one.table.startswith("ops.") for one in done):
        show_ledgers(lake)
    else:
        refresh_catalogue(lake)  # a compaction that was killed may have published
    return done


def compact_table(lake: Lake, name: str, today: str) -> Compacted | None:
    """Merge a table's small files, if it is worth it; rows stay the same."""
    delta = DeltaTable(lake.uri(name))
    live = read_live(delta)
    places = crowded({file.path: file.size for file in live}, today)
    groups = grouped([file for file in live if place_of(file.path) in places])
    if not groups:
        return None
    # Of the table's folder: what a killed one left there a vacuum finds.
    folder = Files(lake.uri(name))
    merged = [file for group in groups if (file := write_merged(folder, delta, group))]
    # What is not committed is nobody's, and a vacuum's: an answer that was lost may have been a yes.
    if len(merged) < len(groups) or not commit_merged(lake, name, merged, groups):
        log.info("maintenance.compaction_met_another", table=name)
        return None
    gone = sum(map(len, groups))
    done = Compacted(name, len(live), len(live) - gone + len(merged))
    log.info("maintenance.compacted", table=name, before=done.files_before, after=done.files_after)
    return done


def grouped(files: Iterable[LiveFile]) -> list[list[LiveFile]]:
    """Return the files to merge: small ones of one partition, until they are large together. Pure."""
    groups: dict[str, list[list[LiveFile]]] = {}
    for file in files:
        if file.size < TARGET:
            of_place = groups.setdefault(place_of(file.path), [[]])
            if sum(one.size for one in of_place[-1]) >= TARGET:
                of_place.append([])
            of_place[-1].append(file)
    return [group for of_place in groups.values() for group in of_place if len(group) > 1]


def write_merged(folder: Files, delta: DeltaTable, group: Sequence[LiveFile]) -> LiveFile | None:
    """Write the rows of a group's files into one, which nobody sees before a commit names it.

    None where an erasure has changed one of them meanwhile: from then on it finds the new one too.
    """
    schema = pa.schema(delta.schema().to_arrow())
    held = read_files(folder, group)
    parts = [as_declared(pq.read_table(BytesIO(one), use_threads=False), schema) for one in held]
    rows = pa.concat_tables(parts, promote_options="default")
    content = encoded(rows, rows_in_group=None if group[0].partition else GROUP, metadata=ROOM)
    path = new_path(place_of(group[0].path))
    folder.create(path, content)
    return in_place_of(group, path=path, size=len(content)) if read_files(folder, group) == held else None


def read_files(folder: Files, group: Iterable[LiveFile]) -> list[bytes]:
    """Return what is in each file of a group."""
    return [folder.read(file.path) for file in group]


def as_declared(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a file's rows in the table's types; a file older than a column does not have it. Pure."""
    own = pa.schema([field for field in schema if field.name in rows.schema.names])
    return rows.select(own.names).cast(own)


def commit_merged(
    lake: Lake, name: str, merged: Sequence[LiveFile], groups: Sequence[Sequence[LiveFile]]
) -> bool:
    """Put merged files in place of their groups, in one commit; False where others took files of those away.

    It is made on the very version in which all of them were seen: delta-rs would let two compactions
    merge the same files, and keep what both made of them.
    """
    gone = [file for group in groups for file in group]
    for _ in range(TRIES):
        delta = DeltaTable(lake.uri(name))
        live = live_files(delta).keys()
        if {file.path for file in merged} <= live:
            return True  # by a commit whose answer was lost
        if not {file.path for file in gone} <= live:
            return False
        with suppress(CommitFailedError):
            commit_files(delta, merged, gone=gone)
            return True
    return False


def crowded(files: Mapping[str, int], today: str) -> set[str]:
    """Return the partitions (empty: the table has none) whose small files are to be merged. Pure."""
    sizes: defaultdict[str, list[int]] = defaultdict(list)
    for path, size in files.items():
        if size < TARGET:
            sizes[place_of(path)].append(size)
    return {place for place, found in sizes.items() if is_crowded(found, is_over=is_over(place, today))}


def is_over(place: str, today: str) -> bool:
    """True of the partition of a day before today. Pure."""
    _, is_of_day, day = place.partition("observed_on=")
    return bool(is_of_day) and day < today


def is_crowded(sizes: Iterable[int], *, is_over: bool) -> bool:
    """True where the small ones of these files are very many, or, of a day that is over, worth it. Pure."""
    found = sorted(sizes)
    small = [size for size in found if size < SMALL]
    if len(small) > MANY:
        return True
    *others, largest = found
    return is_over and len(small) > 1 and sum(size for size in others if size < SMALL) >= WORTH * largest


def place_of(path: str) -> str:
    """Return the folder of a file, which says of which partition it is; empty without one. Pure."""
    return path.rpartition("/")[0]


def restate(lake: Lake, *, now: datetime) -> Release | None:
    """Publish what the current release shows with the merged files of bronze; return it.

    A table that an ingest has brought something to since stays as it was consumed. None where
    nothing else was merged, while publishing is held, and where another one publishes just now.
    """
    current = current_release(lake)
    if current is None or current.is_held:
        return None
    heads = {name: open_table(lake, name) for name in current.consumed}
    merged = {
        name: table.version
        for name, table in heads.items()
        if table.version > current.consumed[name] and not table.appended("id", after=current.consumed[name])
    }
    if not merged:
        return None
    release = msgspec.structs.replace(
        current,
        release=current.release + 1,
        published_at=max(now, current.published_at),  # a build may have published since ``now``
        kind=COMPACTION,
        parent=current.release,
        consumed=current.consumed | merged,
        moved=(),
    )
    try:
        release = publish(lake, release)
    except CommitConflict as error:
        log.info("maintenance.release_met_another", reason=str(error))
        return None
    log.info("maintenance.published", release=release.release, kind=release.kind)
    return release
