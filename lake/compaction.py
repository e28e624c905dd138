"""Compaction: fewer, larger files of bronze and the ledgers; rows, their order and the feed stay the same.

Only they grow by a small file at a time. Silver and gold are written a file a month, and a
commit to them would be in the way of a build: nothing here commits to them. Where bronze
is merged a release says so, which shows what the one before it showed: the last one of a day,
which is kept for long, names the merged files then, and not hundreds of small ones.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa
import structlog
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from lake.catalogue import publish, refresh_catalogue, show_ledgers
from lake.claim import claimed
from lake.clock import shop_day
from lake.errors import CommitConflict
from lake.parquet import writer_properties
from lake.paths import Lake
from lake.release import COMPACTION, Release, current_release
from lake.store import live_files
from lake.table import list_tables, open_table

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
    done = merge(lake, names, today) if any(to_merge(lake, name, today) for name in names) else []
    if restate(lake, now=now):
        return done
    if any(one.table.startswith("ops.") for one in done):
        show_ledgers(lake)
    else:
        refresh_catalogue(lake)  # a compaction that was killed may have published
    return done


def merge(lake: Lake, names: Sequence[str], today: str) -> list[Compacted]:
    """Merge the small files of these tables; return what changed.

    One process at a time: delta-rs lets two merge the same files, and keeps what both made of them.
    """
    found: list[Compacted | None] = []
    with claimed(lake, names[0].split(".")[0]) as claim:
        for name in names:
            claim.renew()
            found.append(compact_table(lake, name, today))
    return [one for one in found if one]


def to_merge(lake: Lake, name: str, today: str) -> set[str]:
    """Return the days (empty: not partitioned) of a table whose small files are to be merged."""
    return crowded(live_files(DeltaTable(lake.uri(name))), today)


def compact_table(lake: Lake, name: str, today: str) -> Compacted | None:
    """Merge a table's small files, if it is worth it; rows and their order stay the same."""
    days = to_merge(lake, name, today)
    if not days:
        return None
    filters: Any = [("observed_on", "in", sorted(days))] if "" not in days else None
    delta = DeltaTable(lake.uri(name))
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


def crowded(files: Mapping[str, int], today: str) -> set[str]:
    """Return the days (empty: not partitioned) whose small files are to be merged. Pure."""
    sizes: defaultdict[str, list[int]] = defaultdict(list)
    for path, size in files.items():
        if size < TARGET:
            sizes[day_of(path)].append(size)
    return {day for day, found in sizes.items() if is_crowded(found, is_over=bool(day) and day < today)}


def is_crowded(sizes: Iterable[int], *, is_over: bool) -> bool:
    """True where the small ones of these files are very many, or, of a day that is over, worth it. Pure."""
    found = sorted(sizes)
    small = [size for size in found if size < SMALL]
    if len(small) > MANY:
        return True
    *others, largest = found
    return is_over and len(small) > 1 and sum(size for size in others if size < SMALL) >= WORTH * largest


def day_of(path: str) -> str:
    """Return the day that a file's path names, empty without one. Pure."""
    folder = path.rpartition("/")[0]
    return folder.partition("observed_on=")[2]


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
