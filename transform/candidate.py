"""Candidate: one table as it would be in the next release, and its difference from this release."""

from collections.abc import Collection
from datetime import date
from decimal import Decimal

import msgspec
import pyarrow as pa

from lake.delta.contract import Contract, differs
from lake.delta.table import Table
from lake.query.quote import name as quoted
from lake.releases.release import Move
from transform.scope import Scope, Whole
from transform.workspace import ADDED, BUILT, DIFF, FULL, REMOVED, Workspace, scratch

NO_MONEY = "null::decimal(38,2)"
# Column of a difference: how many times more a row is in the candidate than in the release.
TIMES = quoted("times more")
EVERYTHING = Whole()


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A table as it would be in the next release, and its difference from this release.

    ``partition_column`` has the month, or week, of the date ``partition_date``. ``partitions``
    are the partitions that differ, or None if the table is written in full. ``scope`` is the
    part that was rebuilt, or None if nothing was.
    """

    name: str
    contract: Contract
    partition_column: str | None = None
    partition_date: str | None = None
    money: str | None = None
    scope: Scope | None = EVERYTHING
    differs: bool = False
    partitions: tuple[date, ...] | None = None
    moved: tuple[Move, ...] = ()

    @property
    def has_ids(self) -> bool:
        """True if the first key column is an integer, as ids are."""
        key = self.contract.key
        return bool(key) and pa.types.is_integer(self.contract.schema.field(key[0]).type)

    @property
    def unkeyed_partition(self) -> str | None:
        """The partition column, if the key does not determine a row's partition."""
        return None if self.partition_date in self.contract.key else self.partition_column


def compare_whole(workspace: Workspace, candidate: Candidate, released: Table | None) -> Candidate:
    """Return a candidate that was built in full, with its difference from the released version."""
    if released is None or differs(released.schema, candidate.contract.schema):
        move = whole_move(workspace, candidate, released)
        return msgspec.structs.replace(candidate, differs=True, moved=(move,))
    built, before = f"from {FULL}.{candidate.name}", workspace.scan(released)
    return compare(workspace, candidate, released, built=built, before=before)


def compare_part(workspace: Workspace, candidate: Candidate, released: Table, before: str) -> Candidate:
    """Return a candidate that was rebuilt in part, with its difference from the rows it replaces.

    ``before`` is the SELECT of the replaced rows.
    """
    built = f"from {scratch(BUILT, candidate.name)}"
    return compare(workspace, candidate, released, built=built, before=before)


def compare(
    workspace: Workspace, candidate: Candidate, released: Table, *, built: str, before: str
) -> Candidate:
    """Return a candidate with the difference between two SELECTs; all other rows are as released."""
    store_difference(workspace, candidate, built=built, before=before)
    differing = sums_by_month(workspace, f"from {scratch(DIFF, candidate.name)}", candidate, TIMES)
    files = [file for file in released.files() if not file.part or file.part.replace(day=1) in differing]
    rows_before = workspace.version_rows(released, files=files)
    sums_before = sums_by_month(workspace, rows_before, candidate) if differing else {}
    nothing = 0, Decimal("0.00") if candidate.money else None
    moved: list[Move] = []
    for month in sorted(differing, key=str):
        (rows, money), (more_rows, more_money) = sums_before.get(month, nothing), differing[month]
        after = money + more_money if money is not None and more_money is not None else None
        moved.append(Move(candidate.name, month, rows, rows + more_rows, money, after))
    partitions = changed_partitions(workspace, candidate, moved) if candidate.partition_column else None
    return msgspec.structs.replace(candidate, differs=bool(moved), partitions=partitions, moved=tuple(moved))


def store_difference(workspace: Workspace, candidate: Candidate, *, built: str, before: str) -> None:
    """Store the rows that only the release has, and those that only the candidate has.

    This takes one pass over both; ``except all`` would sort each of them twice.
    """
    name = candidate.name
    columns, table = ", ".join(map(quoted, candidate.contract.schema.names)), scratch(DIFF, name)
    both = f"select {columns}, 1 as {TIMES} from ({built}) union all select {columns}, -1 from ({before})"
    workspace.duckdb.execute(
        f"create or replace table {table} as select {columns}, sum({TIMES})::bigint as {TIMES}"
        f" from ({both}) group by all having sum({TIMES}) <> 0;"
        f" create or replace view {scratch(REMOVED, name)} as"
        f" select {columns} from {table} where {TIMES} < 0;"
        f" create or replace view {scratch(ADDED, name)} as"
        f" select {columns} from {table} where {TIMES} > 0"
    )


def changed_partitions(
    workspace: Workspace, candidate: Candidate, moved: Collection[Move]
) -> tuple[date, ...]:
    """Return the partitions in which a table differs from the release."""
    if candidate.partition_column == "month":
        return tuple(move.month for move in moved if move.month)
    query = f"select distinct {candidate.partition_column} from {scratch(DIFF, candidate.name)} order by 1"
    return tuple(workspace.first_column(query))


def whole_move(workspace: Workspace, candidate: Candidate, released: Table | None) -> Move:
    """Return the move of a table that is new, or whose columns changed."""
    before: tuple[int, Decimal | None] = (0, None)
    if released:
        money = candidate.money if candidate.money in released.schema.names else None
        before = sums(workspace, f"from ({workspace.scan(released)})", money)
    after = sums(workspace, f"from {workspace.full_name(candidate.name)}", candidate.money)
    return Move(candidate.name, None, before[0], after[0], before[1], after[1])


def sums_by_month(
    workspace: Workspace, rows: str, candidate: Candidate, times: str = "1"
) -> dict[date | None, tuple[int, Decimal | None]]:
    """Return row count and money by month; the month is None if the table has no partitions.

    ``times`` is the SQL expression for how often each row counts.
    """
    column = candidate.partition_column
    month = f"date_trunc('month', {column})::date" if column else "null::date"
    money = f"coalesce(sum({candidate.money} * {times}), 0)::decimal(38,2)"
    money = money if candidate.money else NO_MONEY
    query = f"select {month}, sum({times})::bigint, {money} from ({rows}) group by 1"
    return {first: (count, total) for first, count, total in workspace.duckdb.execute(query).fetchall()}


def sums(workspace: Workspace, rows: str, money: str | None) -> tuple[int, Decimal | None]:
    """Return the row count, and the sum of the money column if there is one."""
    amount = f"coalesce(sum({money}), 0)::decimal(38,2)" if money else NO_MONEY
    count, total = workspace.first_row(f"select count(*), {amount} from ({rows})")
    return count, total
