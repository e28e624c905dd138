"""Reports: the shop's figures from one release. Each report takes the release and the parameters' values."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from lake.query.sql_file import read_sql
from serve.errors import BadQuestion, NothingThere
from serve.figures import Period, average, percent, period_of, round_half_up
from serve.schemas import (
    CountFigure,
    MoneyFigure,
    ProductLine,
    ProductsTop,
    ProductSums,
    RevenueDaily,
    RevenueDay,
    SourceLine,
    Sources,
    Summary,
    Totals,
)
from serve.served_release import ServedRelease

Values = Mapping[str, Any]
Row = dict[str, Any]


def summary(served: ServedRelease, values: Values) -> Summary:
    """Return the period's figures, each compared with the previous period."""
    require_table(served, "revenue_daily")
    period = report_period(served, values)
    now, before = period_sums(served, period), period_sums(served, period.previous)
    return Summary(
        release=served.number,
        not_counted=served.uncounted,
        period=period,
        previous_period=period.previous,
        revenue=money_figure(now, before, "revenue"),
        orders_count=count_figure(now, before, "orders_count"),
        avg_check=money_figure(now, before, "avg_check"),
        returns_count=count_figure(now, before, "returns_count"),
        returns_amount=money_figure(now, before, "returns_amount"),
        returns_percent=money_figure(now, before, "returns_percent"),
    )


def revenue_daily(served: ServedRelease, values: Values) -> RevenueDaily:
    """Return revenue by day and sales type. Raises BadQuestion if the release lacks a given sales type."""
    require_table(served, "revenue_daily")
    period = report_period(served, values)
    types = list(values["sales_type"])
    if any(name not in served.sales_types for name in types):
        known = ", ".join(served.sales_types) or "none"
        raise BadQuestion(f"sales_type: no such type in release {served.number}; it has {known}")
    rows = query(served, "revenue_by_day", first=period.first, last=period.last, sales_types=types)
    return RevenueDaily(
        release=served.number,
        not_counted=served.uncounted,
        period=period,
        totals=totals(rows),
        rows=[RevenueDay(**row) for row in rows],
    )


def products_top(served: ServedRelease, values: Values) -> ProductsTop:
    """Return the best-selling products, and the sums of all other products."""
    require_table(served, "product_daily")
    period = report_period(served, values)
    days = {"first": period.first, "last": period.last}
    rows = query(served, "products_top", **days, by=values["by"], limit=values["limit"])
    [sums] = query(served, "product_sums", **days)
    rest = ProductSums(
        products=sums["products"] - len(rows),
        quantity=sums["quantity"] - sum((row["quantity"] for row in rows), Decimal()),
        revenue=sums["revenue"] - sum((row["revenue"] for row in rows), Decimal()),
    )
    return ProductsTop(
        release=served.number,
        not_counted=served.uncounted,
        period=period,
        by=values["by"],
        limit=values["limit"],
        totals=ProductSums(**sums),
        rest=rest,
        rows=[ProductLine(**row) for row in rows],
    )


def sources(served: ServedRelease, values: Values) -> Sources:
    """Return revenue by source."""
    require_table(served, "source_daily")
    period = report_period(served, values)
    rows = query(served, "sources", first=period.first, last=period.last)
    lines = [SourceLine(**row, avg_check=average(row["revenue"], row["orders_count"])) for row in rows]
    return Sources(
        release=served.number,
        not_counted=served.uncounted,
        period=period,
        totals=totals(rows),
        rows=lines,
    )


def report_period(served: ServedRelease, values: Values) -> Period:
    """Return the period of the parameters; "today" is the release's last shop day."""
    return period_of(values["from"], values["to"], today=served.today)


def require_table(served: ServedRelease, table: str) -> None:
    """Raise NothingThere if the release lacks the gold table."""
    if table not in served.tables:
        known = ", ".join(served.tables) or "none"
        raise NothingThere(f"release {served.number} has no gold table {table}; it has {known}")


def query(served: ServedRelease, name: str, **values: Any) -> list[Row]:
    """Run ``sql/<name>.sql`` on the release and return its rows. Raises TooSlow."""
    return served.rows(read_sql("serve", name), values)


def period_sums(served: ServedRelease, period: Period | None) -> Row:
    """Return the period's sums and quotients by name.

    They are empty if there is no period; figures of returns are missing if the release lacks that table.
    """
    if period is None:
        return {}
    days = {"first": period.first, "last": period.last}
    [sums] = query(served, "revenue_sums", **days)
    sums["avg_check"] = average(sums["revenue"], sums["orders_count"])
    if "returns_daily" in served.tables:
        [returns] = query(served, "returns_sums", **days)
        orders = returns.pop("orders_count")
        sums |= returns | {"returns_percent": percent(returns["returns_count"], orders)}
    return sums


def totals(rows: list[Row]) -> Totals:
    """Return the sums over rows; the average check is total revenue / total orders."""
    revenue = sum((row["revenue"] for row in rows), Decimal("0.00"))
    orders = sum(row["orders_count"] for row in rows)
    return Totals(revenue=revenue, orders_count=orders, avg_check=average(revenue, orders))


def money_figure(now: Row, before: Row, name: str) -> MoneyFigure:
    """Return an amount or a percentage, its previous value and the change; None if a value is missing."""
    value, previous = now.get(name), before.get(name)
    if value is None or previous is None:
        return MoneyFigure(value, previous, None, None)
    change = round_half_up(value - previous)
    return MoneyFigure(value, previous, change, percent(change, previous))


def count_figure(now: Row, before: Row, name: str) -> CountFigure:
    """Return a count, its previous value and the change; None if a value is missing."""
    value, previous = now.get(name), before.get(name)
    if value is None or previous is None:
        return CountFigure(value, previous, None, None)
    return CountFigure(value, previous, value - previous, percent(value - previous, previous))
