"""Release: a numbered, immutable set of table versions that is opened as one.

Delta commits one table at a time. So the versions that belong together are a row of their own:
publishing is one commit to ``ops.releases``, and a reader opens one row.
"""

import contextlib
from collections.abc import Callable, Collection, Iterable
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from lake.delta.ledger import Ledger
from lake.delta.table import Table
from lake.errors import CommitConflict, LakeError, NoRelease
from lake.paths import Lake

ROLLBACK = "rollback"
RESUME = "resume"
COMPACTION = "compaction"
# Kinds of releases that show the same rows as their parent.
ALIKE = (COMPACTION, RESUME)
# Attempts to publish while other processes append to the ledger.
TRIES = 20
# The columns that identify releases and say how they follow one another.
OUTLINE = ("release", "published_at", "kind", "parent", "is_held")
# Rows by file and release number. Files and releases never change, so a process reads a row once.
CACHE: dict[tuple[str, int], dict[str, Any]] = {}
# Entries of the cache at which it is emptied.
CACHED = 200


class Move(msgspec.Struct, frozen=True):
    """The change of one month of one table, or of a whole table; money in the shop's currency."""

    table: str
    month: date | None
    rows_before: int
    rows_after: int
    money_before: Decimal | None = None
    money_after: Decimal | None = None


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """One row of ``ops.releases``.

    ``tables`` is ``{"layer.table": version}`` of what the release shows, ``consumed`` the same of the
    bronze tables it was built from. ``rows`` and ``money`` are each table's totals when it was
    published, ``digests`` those of the files of all these versions, ``moved`` is the difference to the
    parent. ``checks`` is ``{check: rows}`` that a check refused or warned of. ``complete_through`` is the
    source's time up to which the release has everything the source knew; ``reconciled_through`` is the
    source's time when the last resync began that agreed with all history. Builds leave
    ``excluded_runs`` out. If the newest release ``is_held``, builds publish nothing. An empty
    ``models_hash`` forces the next build.
    """

    release: int
    published_at: datetime
    kind: str
    parent: int | None
    tables: dict[str, int]
    consumed: dict[str, int]
    excluded_runs: tuple[str, ...] = ()
    is_held: bool = False
    rows: dict[str, int] = {}
    money: dict[str, Decimal] = {}
    digests: dict[str, str] = {}
    moved: tuple[Move, ...] = ()
    checks: dict[str, int] = {}
    models_hash: str = ""
    code_version: str = ""
    complete_through: datetime | None = None
    reconciled_through: datetime | None = None


LEDGER = Ledger("ops.releases", Release, order_by="release")
RELEASES = LEDGER.name


def publish(lake: Lake, release: Release) -> Release:
    """Make the release current in one commit; return it as it was published.

    If bronze was compacted since its parent was read, it follows that compaction's release, which
    shows the same rows. Raises CommitConflict if any other release was published since, because two
    publishers can't both win. Raises LakeError if publishing is held and this is no ``resume``.
    """
    for _ in range(TRIES):
        table = LEDGER.create(lake)
        release = following(table, release)
        refuse(table, release)
        # A compaction of the ledger itself conflicts too, although it publishes nothing.
        with contextlib.suppress(CommitConflict):
            table.append_pinned(LEDGER.rows([release]))
            return release
    raise table.conflict("others committed again and again")


def following(table: Table, release: Release) -> Release:
    """Return the release as a child of the newest one if only compactions were published in between."""
    newest = table.maximum("release")
    if not isinstance(newest, int) or newest == release.parent or release.kind == COMPACTION:
        return release
    if not is_upon(table, newest, release.parent):
        return release
    return msgspec.structs.replace(release, release=newest + 1, parent=newest)


def is_upon(table: Table, newest: int, number: int | None) -> bool:
    """Return True if release ``number`` is the newest, or only compactions follow it."""
    same = alike(read_release(table, newest), partial(read_release, table), kinds=(COMPACTION,))
    return number in {release.release for release in same}


def refuse_rival(lake: Lake, parent: int | None) -> None:
    """Raise CommitConflict if ``publish`` upon the parent would; for a check before anything is written."""
    table = releases_table(lake)
    newest = table and table.maximum("release")
    if table and isinstance(newest, int) and not is_upon(table, newest, parent):
        raise CommitConflict(
            f"release {newest} was published in the meantime; nothing was written, run it again"
        )


def refuse(table: Table, release: Release) -> None:
    """Raise CommitConflict or LakeError if the release must not follow the newest one."""
    newest = table.maximum("release")
    if newest != release.parent:
        raise table.conflict(f"release {newest} was published in the meantime")
    if isinstance(newest, int) and release.kind != RESUME and not release.is_held:
        parent = read_release(table, newest)
        if parent.is_held:
            raise LakeError(hold(parent))


def alike(
    release: Release, find: Callable[[int], Release | None], *, kinds: Collection[str] = ALIKE
) -> list[Release]:
    """Return the release and, through parents of these kinds, the earlier ones that show the same rows."""
    same = [release]
    while (parent := same[-1].parent) is not None and same[-1].kind in kinds:
        if (earlier := find(parent)) is None:
            break
        same.append(earlier)
    return same


def current_release(lake: Lake) -> Release | None:
    """Return the newest release; None if nothing was published yet."""
    table = releases_table(lake)
    newest = table and table.maximum("release")
    return read_release(table, newest) if table and isinstance(newest, int) else None


def find_release(lake: Lake, number: int | None) -> Release:
    """Return the release of that number, or the newest for None. Raises NoRelease."""
    newest = current_release(lake)
    if newest is None:
        raise NoRelease(f"{lake.place}: nothing is published yet; run `just sync` first")
    if number is None or number == newest.release:
        return newest
    if 1 <= number < newest.release and (table := releases_table(lake)):
        return read_release(table, number)
    raise NoRelease(
        f"release {number} was never published, the newest is {newest.release}; see `just releases`"
    )


def list_releases(lake: Lake, *, limit: int | None = None, until: int | None = None) -> list[Release]:
    """Return releases, newest first: at most ``limit``, and none with a number above ``until``."""
    table = releases_table(lake)
    newest = table and table.maximum("release")
    if not table or not isinstance(newest, int):
        return []
    last = newest if until is None else min(until, newest)
    first = 1 if limit is None else last - limit + 1
    where = (pc.field("release") >= first) & (pc.field("release") <= last)
    return LEDGER.records(table.read(where=where))[::-1]


def list_outlines(lake: Lake) -> list[Release]:
    """Return all releases, oldest first, with the columns of OUTLINE only."""
    table = releases_table(lake)
    if table is None:
        return []
    rows = table.read(OUTLINE).sort_by("release")
    columns = (column.to_pylist() for column in rows)
    return [
        Release(
            release=number,
            published_at=published_at,
            kind=kind,
            parent=parent,
            tables={},
            consumed={},
            is_held=is_held,
        )
        for number, published_at, kind, parent, is_held in zip(*columns, strict=True)
    ]


def read_versions(lake: Lake, numbers: Collection[int]) -> list[Release]:
    """Return the outlines of some releases with the versions that they name."""
    table = releases_table(lake)
    where = pc.field("release").isin(pa.array(numbers, pa.int64()))
    rows = table.read([*OUTLINE, "tables", "consumed"], where).to_pylist() if table else []
    return [Release(**{**row, **{name: dict(row[name]) for name in ("tables", "consumed")}}) for row in rows]


def releases_table(lake: Lake) -> Table | None:
    """Open the ledger at its head; None if nothing was ever published."""
    return LEDGER.open(lake)


def read_release(table: Table, number: int) -> Release:
    """Return one row of the ledger; only the file that holds it is read, once by a process."""
    spans = table.spans("release")
    entries = [(uri, number) for uri, (first, last) in spans.items() if first <= number <= last]
    row = next(filter(None, map(CACHE.get, entries)), None)
    if row is None:
        (row,) = table.read(where=pc.field("release") == number).to_pylist()
        if len(CACHE) >= CACHED:
            CACHE.clear()
        CACHE.update(dict.fromkeys(entries, row))
    return LEDGER.record(row)


def total(moves: Iterable[Move]) -> Decimal:
    """Return the sum by which the moves changed money, in the shop's currency."""
    return sum(
        ((move.money_after or Decimal()) - (move.money_before or Decimal()) for move in moves), Decimal()
    )


def hold(release: Release) -> str:
    """Return one line that says which release holds publishing and which command ends the hold."""
    return f"publishing is held since release {release.release} ({release.kind}); `just resume` lifts it"


def refuse_hold(lake: Lake) -> None:
    """Raise LakeError while publishing is held."""
    current = current_release(lake)
    if current and current.is_held:
        raise LakeError(hold(current))
