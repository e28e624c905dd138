"""Explain: which orders make a day's revenue in a release."""

from datetime import date
from decimal import Decimal

import msgspec
import pyarrow as pa

from lake.delta.table import open_table
from lake.errors import LakeError, UsageError
from lake.paths import Lake
from lake.query.session import Connection, connect, create_view, fetch
from lake.releases.release import Release
from lake.releases.restores import refuse_left_out
from lake.settings import LakeSettings

ORDERS, REVENUE = "silver.orders", "gold.revenue_daily"
ROWS = """
select
    id as order_id,
    sales_type,
    grand_total as revenue,
    source_name,
    manager_name,
    concat_ws(' ', status_id, status_name) as status,
    ordered_at,
from silver.orders
where order_date = $day and not is_return and ($sales_type is null or sales_type = $sales_type)
order by sales_type, order_id
"""
RETURNS = """
select count(*) as count, coalesce(sum(grand_total), 0)::decimal(38, 2) as amount
from silver.orders
where order_date = $day and is_return and ($sales_type is null or sales_type = $sales_type)
"""
SAID = """
select
    coalesce(sum(revenue), 0)::decimal(38, 2) as revenue,
    coalesce(sum(orders_count), 0)::bigint as orders_count,
from gold.revenue_daily
where date = $day and ($sales_type is null or sales_type = $sales_type)
"""


class Explanation(msgspec.Struct, frozen=True):
    """The orders of a day that are no returns, a row each; what they add up to; what is left out.

    Columns: order_id, sales_type, revenue, source_name, manager_name, status, ordered_at.
    """

    rows: pa.Table
    revenue: Decimal
    returns_count: int
    returns_amount: Decimal


def explain(
    lake: Lake, settings: LakeSettings, release: Release, day: date, *, sales_type: str | None = None
) -> Explanation:
    """Return the orders that make a day's revenue in a release, of one sales type or all.

    Raises UsageError for a sales type that no order of the release has, LakeError where the
    orders do not add up to what ``gold.revenue_daily`` says.
    """
    with connect(settings) as connection:
        show(connection, lake, release)
        refuse_unknown(connection, sales_type)
        values = {"day": day, "sales_type": sales_type}
        rows: pa.Table = connection.sql(ROWS, params=values).to_arrow_table()
        [returns] = connection.sql(RETURNS, params=values).to_arrow_table().to_pylist()
        [said] = connection.sql(SAID, params=values).to_arrow_table().to_pylist()
    revenue = sum(rows["revenue"].to_pylist(), Decimal("0.00"))
    if (revenue, rows.num_rows) != (said["revenue"], said["orders_count"]):
        raise LakeError(
            f"release {release.release}: {rows.num_rows} orders of {day} add up to {revenue},"
            f" {REVENUE} says {said['orders_count']} and {said['revenue']}; build again in full"
        )
    return Explanation(rows, revenue, returns["count"], returns["amount"])


def show(connection: Connection, lake: Lake, release: Release) -> None:
    """Make views of the two tables as the release shows them. Raises UsageError where it does not."""
    refuse_left_out(lake, release)
    for name in (ORDERS, REVENUE):
        if name not in release.tables:
            raise UsageError(f"release {release.release} does not show {name}")
        connection.execute(f"create schema {name.split('.')[0]}")
        create_view(connection, name, open_table(lake, name, release.tables[name]))


def refuse_unknown(connection: Connection, sales_type: str | None) -> None:
    """Raise UsageError for a sales type that no order has."""
    known = fetch(connection, "select distinct sales_type from silver.orders order by 1")[0].to_pylist()
    if sales_type is not None and sales_type not in known:
        raise UsageError(f"{sales_type}: no order is sold so; the sales types are {', '.join(known)}")
