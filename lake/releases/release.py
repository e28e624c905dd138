"""Release: a numbered, immutable set of table versions that is opened as one.

Delta commits one table at a time, so what belongs together is itself a row:
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

from lake.delta.table import Table, create_table, open_table, table_exists
from lake.errors import CommitConflict, LakeError, NoRelease
from lake.paths import Lake

RELEASES = "ops.releases"
ROLLBACK = "rollback"
RESUME = "resume"
COMPACTION = "compaction"
# What shows the same as its parent.
ALIKE = (COMPACTION, RESUME)
TRIES = 20
MONEY = pa.decimal128(38, 2)
VERSIONS = pa.map_(pa.string(), pa.int64())
MOVE = pa.struct(
    [
        pa.field("table", pa.string(), False),
        pa.field("month", pa.date32()),
        pa.field("rows_before", pa.int64(), False),
        pa.field("rows_after", pa.int64(), False),
        pa.field("money_before", MONEY),
        pa.field("money_after", MONEY),
    ]
)
SCHEMA = pa.schema(
    [
        pa.field("release", pa.int64(), False),
        pa.field("published_at", pa.timestamp("us", "UTC"), False),
        pa.field("kind", pa.string(), False),
        pa.field("parent", pa.int64()),
        pa.field("tables", VERSIONS, False),
        pa.field("consumed", VERSIONS, False),
        pa.field("excluded_runs", pa.list_(pa.string()), False),
        pa.field("is_held", pa.bool_(), False),
        pa.field("rows", VERSIONS, False),
        pa.field("money", pa.map_(pa.string(), MONEY), False),
        pa.field("moved", pa.list_(MOVE), False),
        pa.field("checks", pa.map_(pa.string(), pa.int64()), False),
        pa.field("models_hash", pa.string(), False),
        pa.field("code_version", pa.string(), False),
        pa.field("complete_through", pa.timestamp("us", "UTC")),
        pa.field("reconciled_through", pa.timestamp("us", "UTC")),
    ]
)
MAPS = ("tables", "consumed", "rows", "money", "checks")
# What tells releases apart, and what became of them.
OUTLINE = ("release", "published_at", "kind", "parent", "is_held")
# Rows as they were read, by file and number: a file is never written twice, nor a release.
READ: dict[tuple[str, int], dict[str, Any]] = {}
REMEMBERED = 200


class Move(msgspec.Struct, frozen=True):
    """How one month of one table (``month`` None: the whole table) changed; money in hryvnias."""

    table: str
    month: date | None
    rows_before: int
    rows_after: int
    money_before: Decimal | None = None
    money_after: Decimal | None = None


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """One row of ``ops.releases``.

    ``tables`` and ``consumed`` are ``{"layer.table": version}`` of what it shows and
    of the bronze it was built from; ``rows`` and ``money`` are what each table held
    when published; ``moved`` is the difference to the parent; ``checks`` says how
    many rows each check refused or warned of; ``complete_through`` is the source's
    time up to which everything the source knew is in it; ``reconciled_through`` the source's
    time when the last resync began that agreed with all history. ``excluded_runs`` are the
    runs that builds leave out. While the newest release ``is_held`` builds publish
    nothing; ``models_hash`` is empty where it is to be built again in any case.
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
    moved: tuple[Move, ...] = ()
    checks: dict[str, int] = {}
    models_hash: str = ""
    code_version: str = ""
    complete_through: datetime | None = None
    reconciled_through: datetime | None = None


def publish(lake: Lake, release: Release) -> Release:
    """Make the release current, in one commit; return it as it was published.

    Where bronze was compacted meanwhile it follows that release, which shows what its parent
    showed. Raises CommitConflict if any other one was published since its parent was read: two
    publishers can't both win. Raises LakeError where the hold would be lifted by anything but
    a ``resume``.
    """
    for _ in range(TRIES):
        table = create_table(lake, RELEASES, SCHEMA)
        release = following(table, release)
        refuse(table, release)
        # The ledger is compacted like any table: what came first need not be a release.
        with contextlib.suppress(CommitConflict):
            table.append_pinned(pa.Table.from_pylist([as_row(release)], schema=SCHEMA))
            return release
    raise table.conflict("others committed again and again")


def following(table: Table, release: Release) -> Release:
    """Return the release as one that follows the newest, where only compactions lie between."""
    newest = table.maximum("release")
    if not isinstance(newest, int) or newest == release.parent or release.kind == COMPACTION:
        return release
    if not is_upon(table, newest, release.parent):
        return release
    return msgspec.structs.replace(release, release=newest + 1, parent=newest)


def is_upon(table: Table, newest: int, number: int | None) -> bool:
    """True where the newest release is that of the number, or only compactions lie between them."""
    same = alike(read_release(table, newest), partial(read_release, table), kinds=(COMPACTION,))
    return number in {one.release for one in same}


def refuse_rival(lake: Lake, parent: int | None) -> None:
    """Raise CommitConflict where ``publish`` upon the parent would: asked before anything is written."""
    table = releases_table(lake)
    newest = table and table.maximum("release")
    if table and isinstance(newest, int) and not is_upon(table, newest, parent):
        raise CommitConflict(f"release {newest} was published meanwhile; nothing was written, run it again")


def refuse(table: Table, release: Release) -> None:
    """Raise CommitConflict or LakeError where the release may not follow the newest one."""
    newest = table.maximum("release")
    if newest != release.parent:
        raise table.conflict(f"release {newest} was published meanwhile")
    if isinstance(newest, int) and release.kind != RESUME and not release.is_held:
        parent = read_release(table, newest)
        if parent.is_held:
            raise LakeError(hold(parent))


def alike(
    release: Release, find: Callable[[int], Release | None], *, kinds: Collection[str] = ALIKE
) -> list[Release]:
    """Return a release, and of these kinds those before it that show the same, as far as they are found."""
    found = [release]
    while (parent := found[-1].parent) is not None and found[-1].kind in kinds:
        if (earlier := find(parent)) is None:
            break
        found.append(earlier)
    return found


def current_release(lake: Lake) -> Release | None:
    """Return the newest release, None where nothing was published yet."""
    table = releases_table(lake)
    newest = table and table.maximum("release")
    return read_release(table, newest) if table and isinstance(newest, int) else None


def find_release(lake: Lake, number: int | None) -> Release:
    """Return the release of that number, the newest for None. Raises NoRelease."""
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
    """Return the releases, or so many of them, newest first; ``until``: none with a greater number."""
    table = releases_table(lake)
    newest = table and table.maximum("release")
    if not table or not isinstance(newest, int):
        return []
    last = newest if until is None else min(until, newest)
    since = 1 if limit is None else last - limit + 1
    where = (pc.field("release") >= since) & (pc.field("release") <= last)
    found = [as_release(row) for row in table.read(where=where).to_pylist()]
    return sorted(found, key=lambda release: release.release, reverse=True)


def list_outlines(lake: Lake) -> list[Release]:
    """Return all releases, oldest first, by what tells them apart: without tables, rows, money and moves."""
    table = releases_table(lake)
    if table is None:
        return []
    rows = table.read(OUTLINE).sort_by("release")
    return [
        Release(
            release=number, published_at=at, kind=kind, parent=parent, tables={}, consumed={}, is_held=held
        )
        for number, at, kind, parent, held in zip(*(column.to_pylist() for column in rows), strict=True)
    ]


def read_versions(lake: Lake, numbers: Collection[int]) -> list[Release]:
    """Return the outlines of some releases with the versions they name."""
    table = releases_table(lake)
    where = pc.field("release").isin(pa.array(numbers, pa.int64()))
    rows = table.read([*OUTLINE, "tables", "consumed"], where).to_pylist() if table else []
    return [Release(**{**row, **{name: dict(row[name]) for name in ("tables", "consumed")}}) for row in rows]


def releases_table(lake: Lake) -> Table | None:
    """Open the ledger; None where it was never written."""
    return open_table(lake, RELEASES) if table_exists(lake, RELEASES) else None


def read_release(table: Table, number: int) -> Release:
    """Return one row of the ledger; only the file that holds it is read, and once by this process."""
    spans = table.spans("release")
    places = [(uri, number) for uri, (first, last) in spans.items() if first <= number <= last]
    found = next(filter(None, map(READ.get, places)), None)
    if found is None:
        (found,) = table.read(where=pc.field("release") == number).to_pylist()
        if len(READ) >= REMEMBERED:
            READ.clear()
        READ.update(dict.fromkeys(places, found))
    return as_release(found)


def as_row(release: Release) -> dict[str, Any]:
    """Return the release as Arrow wants it: maps as lists of pairs."""
    row = msgspec.structs.asdict(release)
    row.update({name: sorted(row[name].items()) for name in MAPS})
    row["moved"] = [msgspec.structs.asdict(move) for move in release.moved]
    row["excluded_runs"] = list(release.excluded_runs)
    return row


def as_release(row: dict[str, Any]) -> Release:
    """Return a ledger row as a Release."""
    maps = {name: dict(row[name]) for name in MAPS}
    moved = tuple(Move(**move) for move in row["moved"])
    return Release(**{**row, **maps, "moved": moved, "excluded_runs": tuple(row["excluded_runs"])})


def total(moves: Iterable[Move]) -> Decimal:
    """Return the sum by which the moves changed money."""
    return sum(
        ((move.money_after or Decimal()) - (move.money_before or Decimal()) for move in moves), Decimal()
    )


def hold(release: Release) -> str:
    """Return, in one line, what keeps builds from publishing and what ends it."""
    return f"publishing is held since release {release.release} ({release.kind}); `just resume` lifts it"


def refuse_hold(lake: Lake) -> None:
    """Raise LakeError while publishing is held."""
    serving = current_release(lake)
    if serving and serving.is_held:
        raise LakeError(hold(serving))
