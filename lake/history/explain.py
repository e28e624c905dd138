"""Explain: the orders behind a day's revenue in a release."""

from datetime import date
from decimal import Decimal

import msgspec
import pyarrow as pa

from lake.errors import LakeError, UsageError
from lake.paths import Lake
from lake.query.session import Connection, connect, create_view, fetch
from lake.query.sql_file import read_sql
from lake.releases.release import Release
from lake.releases.released_table import open_released
from lake.releases.restores import refuse_left_out
from lake.settings import LakeSettings

ORDERS, REVENUE = "silver.orders", "gold.revenue_daily"


class Explanation(msgspec.Struct, frozen=True):
    """The orders of a day without returns, one row each, their sum, and the returns that it leaves out.

    Columns of ``rows``: order_id, sales_type, revenue, source_name, manager_name, status, ordered_at.
    """

    rows: pa.Table
    revenue: Decimal
    returns_count: int
    returns_amount: Decimal


def explain(
    lake: Lake, settings: LakeSettings, release: Release, day: date, *, sales_type: str | None = None
) -> Explanation:
    """Return the orders behind a day's revenue in a release, of one sales type or of all.

    Raises UsageError if no order of the release has the sales type, and LakeError if the orders
    do not add up to ``gold.revenue_daily``.
    """
    with connect(settings) as connection:
        create_views(connection, lake, release)
        refuse_unknown(connection, sales_type)
        values = {"day": day, "sales_type": sales_type}
        rows, returns, revenue = (
            connection.sql(read_sql("lake.history", name), params=values).to_arrow_table()
            for name in ("day_orders", "day_returns", "day_revenue")
        )
    [returned], [gold] = returns.to_pylist(), revenue.to_pylist()
    total = sum(rows["revenue"].to_pylist(), Decimal("0.00"))
    if (total, rows.num_rows) != (gold["revenue"], gold["orders_count"]):
        raise LakeError(
            f"release {release.release}: {rows.num_rows} orders of {day} add up to {total}, but {REVENUE}"
            f" has {gold['orders_count']} orders and {gold['revenue']}; run `just transform --full`"
        )
    return Explanation(rows, total, returned["count"], returned["amount"])


def create_views(connection: Connection, lake: Lake, release: Release) -> None:
    """Create views of both tables at the release's versions. Raises UsageError if it lacks one of them."""
    refuse_left_out(lake, release)
    for name in (ORDERS, REVENUE):
        if name not in release.tables:
            raise UsageError(f"release {release.release} has no table {name}")
        connection.execute(f"create schema {name.split('.')[0]}")
        create_view(connection, name, open_released(lake, release, name))


def refuse_unknown(connection: Connection, sales_type: str | None) -> None:
    """Raise UsageError if no order has the sales type."""
    known = fetch(connection, "select distinct sales_type from silver.orders order by 1")[0].to_pylist()
    if sales_type is not None and sales_type not in known:
        raise UsageError(
            f"{sales_type}: no order has this sales type; the sales types are {', '.join(known)}"
        )
