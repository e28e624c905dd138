"""Diff: which days of which tables moved between two releases.

Only files that one of the two has and the other has not are compared row by row: what
they share is the same. So a diff costs what changed, not what there is.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from decimal import Decimal

import msgspec
import pyarrow as pa

from lake.delta.contract import Contract
from lake.delta.table import Table, open_table
from lake.errors import UsageError
from lake.paths import Lake
from lake.query.quote import literal, literals
from lake.query.quote import name as quoted
from lake.query.session import Connection, connect, create_view, fetch
from lake.releases.release import Release
from lake.releases.restores import refuse_left_out
from lake.settings import LakeSettings

# Rows of either release, and of the files that only it has.
SIDES = ("before", "after", "only_before", "only_after")
DAY = pa.date32()
HRYVNIAS = pa.decimal128(18, 2)
# What a row's day is called; by any other date a table is only parted, to keep what is written small.
DAYS_OF_ROWS = ("date", "order_date", "observed_date", "order_month")
# A table's money is its first column of hryvnias; of a line's prices none is, but the total.
MONEY = {"silver.order_lines": "total"}
SCHEMA = Contract.of(
    {
        "table": "VARCHAR",
        "date": "DATE?",
        "rows_before": "BIGINT",
        "rows_after": "BIGINT",
        "rows_gone": "BIGINT",
        "rows_new": "BIGINT",
        "money_before": "DECIMAL(38,2)?",
        "money_after": "DECIMAL(38,2)?",
    }
).schema
DIFFERING = """
create or replace temp table differing as
with gone as (
    select {columns} from only_before.{view}
    except all
    select {columns} from only_after.{view}
),

come as (
    select {columns} from only_after.{view}
    except all
    select {columns} from only_before.{view}
),

either as (
    select {day} as day, 1 as is_gone from gone
    union all
    select {day} as day, 0 as is_gone from come
)

select day, date_trunc('month', day)::date as month, sum(is_gone)::bigint as gone, count(*) as rows
from either
group by all
"""
DAYS = """
with was as (
    select {day} as day, count(*) as rows, {money} as money
    from before.{view}
    where {months}
    group by all
),

is_now as (
    select {day} as day, count(*) as rows, {money} as money
    from after.{view}
    where {months}
    group by all
)

select
    {name} as "table",
    d.day as date,
    coalesce(was.rows, 0) as rows_before,
    coalesce(is_now.rows, 0) as rows_after,
    d.gone as rows_gone,
    d.rows - d.gone as rows_new,
    coalesce(was.money, {nothing}) as money_before,
    coalesce(is_now.money, {nothing}) as money_after,
from differing as d
left join was on was.day is not distinct from d.day
left join is_now on is_now.day is not distinct from d.day
order by d.day
"""


class DayMove(msgspec.Struct, frozen=True):
    """How one day of one table (``date`` None: a table without days) differs; money in hryvnias.

    ``rows_gone`` are in the first release alone, ``rows_new`` in the second alone: a row that
    was edited is one of each.
    """

    table: str
    date: date | None
    rows_before: int
    rows_after: int
    rows_gone: int
    rows_new: int
    money_before: Decimal | None
    money_after: Decimal | None


def as_table(moves: Sequence[DayMove]) -> pa.Table:
    """Return the moves as Arrow, a row each."""
    return pa.Table.from_pylist([msgspec.structs.asdict(move) for move in moves], schema=SCHEMA)


class Shown(msgspec.Struct, frozen=True):
    """What of a table two releases have in common: columns of one type, its day, its money."""

    columns: tuple[str, ...]
    day: str | None
    money: str | None


def day_moves(
    lake: Lake, settings: LakeSettings, before: Release, after: Release, *, table: str | None = None
) -> list[DayMove]:
    """Return the days that differ, of one table or all, in order of table and day.

    Raises UsageError for a table that neither release shows, NoRelease for a release that a
    restored lake was not given.
    """
    for release in (before, after):
        refuse_left_out(lake, release)
    names = before.tables.keys() | after.tables.keys()
    if table is not None and table not in names:
        raise UsageError(f"{table}: neither release shows it; they show {', '.join(sorted(names))}")
    with compared(settings) as connection:
        return [
            move
            for name in sorted(names if table is None else {table})
            if before.tables.get(name) != after.tables.get(name)
            for move in moves_of(connection, lake, name, before, after)
        ]


@contextmanager
def compared(settings: LakeSettings) -> Iterator[Connection]:
    """Open DuckDB with a schema for each side."""
    with connect(settings) as connection:
        for side in SIDES:
            connection.execute(f"create schema {side}")
        yield connection


def moves_of(connection: Connection, lake: Lake, name: str, before: Release, after: Release) -> list[DayMove]:
    """Return the days in which two versions of a table differ."""
    shown = show_both(connection, lake, name, before, after)
    day = quoted(shown.day) if shown.day else "null::date"
    view, columns = quoted(name), ", ".join(map(quoted, shown.columns))
    connection.execute(DIFFERING.format(view=view, columns=columns, day=day))
    money = f"sum({quoted(shown.money)})::decimal(38, 2)" if shown.money else "null::decimal(38, 2)"
    rows = fetch(
        connection,
        DAYS.format(
            name=literal(name),
            view=view,
            day=day,
            months=months_in(connection) if shown.day else "true",
            money=money,
            nothing="0" if shown.money else "null",
        ),
    )
    return [DayMove(**row) for row in rows.to_pylist()]


def months_in(connection: Connection) -> str:
    """Return the condition that leaves the months with differences: of others no file is opened."""
    months = connection.execute("select distinct month from differing").fetchall()
    return f"month in ({literals(month for (month,) in months)})" if months else "false"


def show_both(connection: Connection, lake: Lake, name: str, before: Release, after: Release) -> Shown:
    """Make a view of the table's name on every side; without rows where a release does not show it."""
    old, new = (
        open_table(lake, name, release.tables[name]) if name in release.tables else None
        for release in (before, after)
    )
    old_files = {file.uri for file in old.files()} if old else set()
    new_files = {file.uri for file in new.files()} if new else set()
    like_old, like_new = old or new, new or old
    if not like_old or not like_new:
        raise UsageError(f"{name}: neither release shows it")
    sides = (
        (like_old, old_files),
        (like_new, new_files),
        (like_old, old_files - new_files),
        (like_new, new_files - old_files),
    )
    for side, (table, files) in zip(SIDES, sides, strict=True):
        create_view(connection, f"{side}.{quoted(name)}", table, sorted(files))
    return common(name, like_old, like_new)


def common(name: str, old: Table, new: Table) -> Shown:
    """Return what two versions of a table have in common."""
    fields = [field for field in new.schema if field.name in old.schema.names]
    fields = [field for field in fields if field.type.equals(old.schema.field(field.name).type)]
    kinds = {field.name: field.type for field in fields}
    days = [column for column, kind in kinds.items() if kind.equals(DAY) and column in DAYS_OF_ROWS]
    is_dated = bool(days) and "month" in new.partition_by and "month" in old.partition_by
    hryvnias = [column for column, kind in kinds.items() if kind.equals(HRYVNIAS)]
    money = [column for column in (MONEY.get(name), *hryvnias) if column in hryvnias]
    return Shown(
        columns=tuple(kinds),
        day=days[0] if is_dated else None,
        money=money[0] if is_dated and money else None,
    )
