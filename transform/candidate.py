"""Candidate: one table as it would be in the next release, and how it differs from the release's."""

from collections.abc import Collection
from datetime import date
from decimal import Decimal

import msgspec
import pyarrow as pa

from lake.delta.contract import Contract, differs
from lake.delta.table import Table
from lake.query.quote import name as quoted
from lake.query.session import scan
from lake.releases.release import Move
from transform.scope import Scope, Whole
from transform.workspace import BUILT, COME, DIFF, FULL, GONE, Workspace, in_

NO_MONEY = "null::decimal(38,2)"
# How many times more a row is in the candidate than in the release.
TIMES = quoted("times more")
EVERYTHING = Whole()


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A table as it would be, and how it differs from the release's.

    ``part`` is the column it is partitioned by: the month, or week, of the date ``parted_by``. ``parts``
    are its values where it differs; None where the table is written whole. ``scope`` is what was built
    anew of it, None for nothing.
    """

    name: str
    contract: Contract
    part: str | None = None
    parted_by: str | None = None
    money: str | None = None
    scope: Scope | None = EVERYTHING
    differs: bool = False
    parts: tuple[date, ...] | None = None
    moved: tuple[Move, ...] = ()

    @property
    def has_ids(self) -> bool:
        """True where the first column of the key is a number, as ids are."""
        key = self.contract.key
        return bool(key) and pa.types.is_integer(self.contract.schema.field(key[0]).type)

    @property
    def apart(self) -> str | None:
        """The partition's column where the key does not say in which one a row is."""
        return None if self.parted_by in self.contract.key else self.part


def compare_whole(space: Workspace, candidate: Candidate, held: Table | None) -> Candidate:
    """Return a candidate that was built whole with what of it differs from the version ``held``."""
    if held is None or differs(held.schema, candidate.contract.schema):
        move = moved_whole(space, candidate, held)
        return msgspec.structs.replace(candidate, differs=True, moved=(move,))
    built, before = f"from {FULL}.{candidate.name}", scan(space.duckdb, held)
    return compare(space, candidate, held, built=built, before=before)


def compare_part(space: Workspace, candidate: Candidate, held: Table, before: str) -> Candidate:
    """Return a candidate that was built in part with what differs: ``before`` is what that part replaces."""
    return compare(space, candidate, held, built=f"from {in_(BUILT, candidate.name)}", before=before)


def compare(space: Workspace, candidate: Candidate, held: Table, *, built: str, before: str) -> Candidate:
    """Return a candidate with what differs between the rows of two SELECTs; all others are as held."""
    keep_differing(space, candidate, built=built, before=before)
    differing = sums_by_month(space, f"from {in_(DIFF, candidate.name)}", candidate, TIMES)
    files = [file for file in held.files() if not file.part or file.part.replace(day=1) in differing]
    sums = sums_by_month(space, space.held(held, files=files), candidate) if differing else {}
    none = 0, Decimal("0.00") if candidate.money else None
    moved: list[Move] = []
    for month in sorted(differing, key=str):
        (rows, money), (more, dearer) = sums.get(month, none), differing[month]
        after = money + dearer if money is not None and dearer is not None else None
        moved.append(Move(candidate.name, month, rows, rows + more, money, after))
    parts = differing_parts(space, candidate, moved) if candidate.part else None
    return msgspec.structs.replace(candidate, differs=bool(moved), parts=parts, moved=tuple(moved))


def keep_differing(space: Workspace, candidate: Candidate, *, built: str, before: str) -> None:
    """Keep the rows that only the release has, and those that only the candidate has.

    One pass over both, where ``except all`` would sort each of them twice.
    """
    name = candidate.name
    names, place = ", ".join(map(quoted, candidate.contract.schema.names)), in_(DIFF, name)
    both = f"select {names}, 1 as {TIMES} from ({built}) union all select {names}, -1 from ({before})"
    space.duckdb.execute(
        f"create or replace table {place} as select {names}, sum({TIMES})::bigint as {TIMES}"
        f" from ({both}) group by all having sum({TIMES}) <> 0;"
        f" create or replace view {in_(GONE, name)} as select {names} from {place} where {TIMES} < 0;"
        f" create or replace view {in_(COME, name)} as select {names} from {place} where {TIMES} > 0"
    )


def differing_parts(space: Workspace, candidate: Candidate, moved: Collection[Move]) -> tuple[date, ...]:
    """Return the partitions in which a table differs from the release."""
    if candidate.part == "month":
        return tuple(move.month for move in moved if move.month)
    differing = in_(DIFF, candidate.name)
    return tuple(space.column(f"select distinct {candidate.part} from {differing} order by 1"))


def moved_whole(space: Workspace, candidate: Candidate, held: Table | None) -> Move:
    """Return how a table moved that is there for the first time, or in other columns."""
    before: tuple[int, Decimal | None] = (0, None)
    if held:
        money = candidate.money if candidate.money in held.schema.names else None
        before = sums(space, f"from ({scan(space.duckdb, held)})", money)
    after = sums(space, f"from {space.whole(candidate.name)}", candidate.money)
    return Move(candidate.name, None, before[0], after[0], before[1], after[1])


def sums_by_month(
    space: Workspace, rows: str, candidate: Candidate, times: str = "1"
) -> dict[date | None, tuple[int, Decimal | None]]:
    """Return rows and money by month (None: the table has none), each row counted so many times."""
    month = f"date_trunc('month', {candidate.part})::date" if candidate.part else "null::date"
    money = f"coalesce(sum({candidate.money} * {times}), 0)::decimal(38,2)"
    money = money if candidate.money else NO_MONEY
    query = f"select {month}, sum({times})::bigint, {money} from ({rows}) group by 1"
    return {found: (count, total) for found, count, total in space.duckdb.execute(query).fetchall()}


def sums(space: Workspace, rows: str, money: str | None) -> tuple[int, Decimal | None]:
    """Return how many rows there are, and the sum of the money column, if any."""
    amount = f"coalesce(sum({money}), 0)::decimal(38,2)" if money else NO_MONEY
    count, total = space.one(f"select count(*), {amount} from ({rows})")
    return count, total
