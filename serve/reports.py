"""What the shop asks: each function takes an open release and what is asked with, and returns the answer."""

import functools
from collections.abc import Mapping
from decimal import Decimal
from importlib.resources import files
from typing import Any

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


def query(served: ServedRelease, name: str, **values: Any) -> list[dict[str, Any]]:
    """Run ``sql/<name>.sql`` on the release and return its rows. Raises TooSlow."""
    return served.rows(read_sql(name), values)


@functools.cache
def read_sql(name: str) -> str:
    """Return the text of ``sql/<name>.sql``."""
    return files("serve").joinpath("sql", f"{name}.sql").read_text("utf-8")


Values = Mapping[str, Any]
Row = dict[str, Any]


def summary(served: ServedRelease, values: Values) -> Summary:
    """Return the cards: the period's figures against those of the period before."""
    need(served, "revenue_daily")
    period = report_period(served, values)
    now, before = sums(served, period), sums(served, period.previous)
    return Summary(
        release=served.number,
        period=period,
        previous_period=period.previous,
        revenue=money(now, before, "revenue"),
        orders_count=count(now, before, "orders_count"),
        avg_check=money(now, before, "avg_check"),
        returns_count=count(now, before, "returns_count"),
        returns_amount=money(now, before, "returns_amount"),
        returns_percent=money(now, before, "returns_percent"),
    )


def revenue_daily(served: ServedRelease, values: Values) -> RevenueDaily:
    """Return revenue by day and sales type."""
    need(served, "revenue_daily")
    period = report_period(served, values)
    types = list(values["sales_type"])
    for name in types:
        if name not in served.sales_types:
            known = ", ".join(served.sales_types) or "none"
            raise BadQuestion(f"sales_type: no such type in release {served.number}; it has {known}")
    rows = query(served, "revenue_by_day", first=period.first, last=period.last, sales_types=types)
    return RevenueDaily(
        release=served.number, period=period, totals=totals(rows), rows=[RevenueDay(**row) for row in rows]
    )


def products_top(served: ServedRelease, values: Values) -> ProductsTop:
    """Return the products that sold most, and what all others add up to."""
    need(served, "product_daily")
    period = report_period(served, values)
    between = {"first": period.first, "last": period.last}
    rows = query(served, "products_top", **between, by=values["by"], limit=values["limit"])
    [whole] = query(served, "product_sums", **between)
    rest = ProductSums(
        products=whole["products"] - len(rows),
        quantity=whole["quantity"] - sum((row["quantity"] for row in rows), Decimal()),
        revenue=whole["revenue"] - sum((row["revenue"] for row in rows), Decimal()),
    )
    return ProductsTop(
        release=served.number,
        period=period,
        by=values["by"],
        limit=values["limit"],
        totals=ProductSums(**whole),
        rest=rest,
        rows=[ProductLine(**row) for row in rows],
    )


def sources(served: ServedRelease, values: Values) -> Sources:
    """Return revenue by source."""
    need(served, "source_daily")
    period = report_period(served, values)
    rows = query(served, "sources", first=period.first, last=period.last)
    lines = [SourceLine(**row, avg_check=average(row["revenue"], row["orders_count"])) for row in rows]
    return Sources(release=served.number, period=period, totals=totals(rows), rows=lines)


def report_period(served: ServedRelease, values: Values) -> Period:
    """Return the period asked for, in the release's own days."""
    return period_of(values["from"], values["to"], today=served.today)


def need(served: ServedRelease, table: str) -> None:
    """Raise NothingThere unless the release has the table."""
    if table not in served.tables:
        known = ", ".join(served.tables) or "none"
        raise NothingThere(f"release {served.number} has no gold table {table}; it has {known}")


def sums(served: ServedRelease, period: Period | None) -> Row:
    """Return the period's sums and quotients; nothing where there is no period or no table."""
    if period is None:
        return {}
    between = {"first": period.first, "last": period.last}
    [found] = query(served, "revenue_sums", **between)
    found["avg_check"] = average(found["revenue"], found["orders_count"])
    if "returns_daily" in served.tables:
        [returns] = query(served, "returns_sums", **between)
        orders = returns.pop("orders_count")
        found |= returns | {"returns_percent": percent(returns["returns_count"], orders)}
    return found


def totals(rows: list[Row]) -> Totals:
    """Return the sums over rows; the average is that of all orders, not of the rows' averages."""
    revenue = sum((row["revenue"] for row in rows), Decimal("0.00"))
    orders = sum(row["orders_count"] for row in rows)
    return Totals(revenue=revenue, orders_count=orders, avg_check=average(revenue, orders))


def money(now: Row, before: Row, name: str) -> MoneyFigure:
    """Return a figure with two places against its former value."""
    value, previous = now.get(name), before.get(name)
    if value is None or previous is None:
        return MoneyFigure(value, previous, None, None)
    change = round_half_up(value - previous)
    return MoneyFigure(value, previous, change, percent(change, previous))


def count(now: Row, before: Row, name: str) -> CountFigure:
    """Return a count against its former value."""
    value, previous = now.get(name), before.get(name)
    if value is None or previous is None:
        return CountFigure(value, previous, None, None)
    return CountFigure(value, previous, value - previous, percent(value - previous, previous))
