"""Order diff: the orders behind the days that differ between two releases, and each order's changes.

An order moved if its day, status, sales type, return flag, total or lines changed. If only
another column changed, such as the name of its buyer, the order is counted but not listed.
"""

from collections.abc import Collection
from datetime import date

import msgspec
import pyarrow as pa

from lake.history.diff import SIDES, CommonColumns, create_side_views, open_sides
from lake.paths import Lake
from lake.query.quote import literal
from lake.query.quote import name as quoted
from lake.query.sql_file import read_sql
from lake.releases.release import Release
from lake.releases.restores import refuse_left_out
from lake.settings import LakeSettings

ORDERS, LINES = "silver.orders", "silver.order_lines"
# Columns of an order whose values are reported.
REPORTED = ("order_date", "status_id", "status_name", "sales_type", "is_return", "grand_total")
# Columns that are not reported. Of all other columns only the name is reported if the value changed.
IGNORED = ("id", "month", "observed_at")
# Lines of orders if neither release has a table of them.
NO_LINES = (
    "select null::bigint as order_id, null::bigint as product_id, null::varchar as sold_name,"
    " null::decimal(18, 3) as quantity, null::decimal(18, 2) as price where false"
)


class OrderMoves(msgspec.Struct, frozen=True):
    """The orders that moved, one row each, and the number of other orders that differ.

    Columns of ``rows``: order_id, change (``new``, ``gone``, ``edited``); date, status, sales_type, total
    and revenue, each with ``_before`` and ``_after``; ``lines``: the removed (-) and added (+)
    lines; ``also``: the names of the other columns that differ.
    """

    rows: pa.Table
    others: int


def order_moves(
    lake: Lake,
    settings: LakeSettings,
    before: Release,
    after: Release,
    *,
    days: Collection[date] | None = None,
) -> OrderMoves:
    """Return the orders that moved between two releases.

    If ``days`` is given, only orders whose day before or after is one of them are returned. Raises
    UsageError if neither release has orders, and NoRelease if the backup that the lake was restored
    from did not include a release.
    """
    for release in (before, after):
        refuse_left_out(lake, release)
    values = {"days": None if days is None else sorted(days)}
    with open_sides(settings) as connection:
        common = create_side_views(connection, lake, ORDERS, before, after)
        if LINES in before.tables or LINES in after.tables:
            create_side_views(connection, lake, LINES, before, after)
        else:
            for side in SIDES:
                connection.execute(f"create view {side}.{quoted(LINES)} as {NO_LINES}")
        connection.execute(changed_columns(common))
        connection.execute(f"create temp table order_pairs as {read_sql('lake.history', 'order_pairs')}")
        rows = connection.sql(read_sql("lake.history", "moved_orders"), params=values).to_arrow_table()
        ((others,),) = connection.execute(read_sql("lake.history", "other_orders"), values).fetchall()
    return OrderMoves(rows, others)


def changed_columns(common: CommonColumns) -> str:
    """Return the SQL of the macro that lists the names of an order's other columns that differ."""
    names = ", ".join(
        f"case when b.{quoted(column)} is distinct from a.{quoted(column)} then {literal(column)} end"
        for column in common.columns
        if column not in REPORTED + IGNORED
    )
    differing = f"list_filter([{names}]::varchar[], lambda name: name is not null)"
    return f"create temp macro changed_columns(b, a) as {differing}"
