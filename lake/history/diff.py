"""Diff: the days of each table that differ between two releases.

Only files that one release has and the other lacks are compared row by row, because shared
files have the same rows. So the cost depends on the size of the change, not of the lake.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from decimal import Decimal

import msgspec
import pyarrow as pa

from lake.delta.contract import Contract
from lake.delta.table import Table
from lake.errors import UsageError
from lake.paths import Lake
from lake.query.quote import literals
from lake.query.quote import name as quoted
from lake.query.session import Connection, connect, create_view
from lake.query.sql_file import read_sql
from lake.releases.column_facts import ColumnFacts, read_column_facts
from lake.releases.release import Release
from lake.releases.released_table import open_released
from lake.releases.restores import refuse_left_out
from lake.settings import LakeSettings

# Schemas of the comparison: all rows of each release, and the rows of files that only one release has.
SIDES = ("before", "after", "only_before", "only_after")
NO_FACTS = ColumnFacts()
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


class DayMove(msgspec.Struct, frozen=True):
    """Rows and money of one day of one table in two releases; money in the shop's currency.

    ``date`` is None if the table has no days. ``rows_gone`` counts the rows that only the first
    release has, and ``rows_new`` those that only the second has. An edited row counts in both.
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
    """Return the moves as Arrow, one row per move."""
    return pa.Table.from_pylist([msgspec.structs.asdict(move) for move in moves], schema=SCHEMA)


class CommonColumns(msgspec.Struct, frozen=True):
    """The columns that a table has in both releases with the same type, and its day and money columns."""

    columns: tuple[str, ...]
    day: str | None
    money: str | None


def day_moves(
    lake: Lake, settings: LakeSettings, before: Release, after: Release, *, table: str | None = None
) -> list[DayMove]:
    """Return the days that differ, of one table or of all, in order of table and day.

    Raises UsageError if neither release has the table, and NoRelease if the backup that the lake
    was restored from did not include a release.
    """
    for release in (before, after):
        refuse_left_out(lake, release)
    names = before.tables.keys() | after.tables.keys()
    if table is not None and table not in names:
        raise UsageError(f"{table}: neither release has this table; they have {', '.join(sorted(names))}")
    facts = read_column_facts(lake, after, before)
    with open_sides(settings) as connection:
        return [
            move
            for name in sorted(names if table is None else {table})
            if before.tables.get(name) != after.tables.get(name)
            for move in moves_of(connection, lake, name, before, after, facts)
        ]


@contextmanager
def open_sides(settings: LakeSettings) -> Iterator[Connection]:
    """Open DuckDB with an empty schema for each of ``SIDES``."""
    with connect(settings) as connection:
        for side in SIDES:
            connection.execute(f"create schema {side}")
        yield connection


def moves_of(
    connection: Connection, lake: Lake, name: str, before: Release, after: Release, facts: ColumnFacts
) -> list[DayMove]:
    """Return the days on which a table differs between two releases."""
    common = create_side_views(connection, lake, name, before, after, facts)
    day = quoted(common.day) if common.day else "null::date"
    columns = ", ".join(map(quoted, common.columns))
    create_compared(connection, name, SIDES[2:], f"{day} as compared_day, {columns}")
    differing_days = read_sql("lake.history", "differing_days")
    connection.execute(f"create or replace temp table differing_days as {differing_days}")
    money = quoted(common.money) if common.money else "null::decimal(18, 2)"
    months = months_in(connection) if common.day else "true"
    create_compared(connection, name, SIDES[:2], f"{day} as day, {money} as money", months)
    values = {"table": name, "no_money": 0 if common.money else None}
    rows = connection.sql(read_sql("lake.history", "day_moves"), params=values).to_arrow_table()
    return [DayMove(**row) for row in rows.to_pylist()]


def create_compared(
    connection: Connection, name: str, sides: Sequence[str], columns: str, condition: str = "true"
) -> None:
    """Create the view ``compared`` of a table on the given sides, for the SQL files to read."""
    for side in sides:
        view = f"select {columns} from {side}.{quoted(name)} where {condition}"
        connection.execute(f"create or replace view {side}.compared as {view}")


def months_in(connection: Connection) -> str:
    """Return the condition that selects the months that differ, so that no file of another is opened."""
    months = connection.execute("select distinct month from differing_days").fetchall()
    return f"month in ({literals(month for (month,) in months)})" if months else "false"


def create_side_views(
    connection: Connection,
    lake: Lake,
    name: str,
    before: Release,
    after: Release,
    facts: ColumnFacts = NO_FACTS,
) -> CommonColumns:
    """Create a view of the table on each side, without rows if a release lacks it; return its columns."""
    old, new = (
        open_released(lake, release, name) if name in release.tables else None for release in (before, after)
    )
    old_files = {file.uri for file in old.files()} if old else set()
    new_files = {file.uri for file in new.files()} if new else set()
    like_old, like_new = old or new, new or old
    if not like_old or not like_new:
        raise UsageError(f"{name}: neither release has this table")
    sides = (
        (like_old, old_files),
        (like_new, new_files),
        (like_old, old_files - new_files),
        (like_new, new_files - old_files),
    )
    for side, (table, files) in zip(SIDES, sides, strict=True):
        create_view(connection, f"{side}.{quoted(name)}", table, sorted(files))
    return common_columns(name, like_old, like_new, facts)


def common_columns(name: str, old: Table, new: Table, facts: ColumnFacts) -> CommonColumns:
    """Return the columns that two versions of a table have in common.

    A table has a day only if both versions are partitioned by its month, and money only if it has a day.
    """
    fields = [field for field in new.schema if field.name in old.schema.names]
    fields = [field for field in fields if field.type.equals(old.schema.field(field.name).type)]
    columns = tuple(field.name for field in fields)
    day, money = facts.day.get(name), facts.money.get(name)
    is_dated = day in columns and "month" in new.partition_by and "month" in old.partition_by
    return CommonColumns(
        columns=columns,
        day=day if is_dated else None,
        money=money if is_dated and money in columns else None,
    )
