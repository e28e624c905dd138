"""What the shop asks: each function takes an open release and what is asked with, and returns the answer."""

import functools
from collections.abc import Mapping
from decimal import Decimal
from importlib.resources import files
from typing import Any

from serve.errors import BadQuestion, NothingThere
from serve.figures import Period, average, percent, period_of, rounded
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
from serve.served_release import Session


def query(session: Session, name: str, **values: Any) -> list[dict[str, Any]]:
    """Run ``sql/<name>.sql`` on the release and return its rows. Raises TooSlow."""
    return session.rows(read_sql(name), values)


@functools.cache
def read_sql(name: str) -> str:
    """Return the text of ``sql/<name>.sql``."""
    return files("serve").joinpath("sql", f"{name}.sql").read_text("utf-8")


Values = Mapping[str, Any]
Row = dict[str, Any]


def summary(session: Session, values: Values) -> Summary:
    """Return the cards: the period's figures against those of the period before."""
    need(session, "revenue_daily")
    period = asked_period(session, values)
    now, before = sums(session, period), sums(session, period.previous)
    return Summary(
        release=session.number,
        period=period,
        previous_period=period.previous,
        revenue=money(now, before, "revenue"),
        orders_count=count(now, before, "orders_count"),
        avg_check=money(now, before, "avg_check"),
        returns_count=count(now, before, "returns_count"),
        returns_amount=money(now, before, "returns_amount"),
        returns_percent=money(now, before, "returns_percent"),
    )


def revenue_daily(session: Session, values: Values) -> RevenueDaily:
    """Return revenue by day and sales type."""
    need(session, "revenue_daily")
    period = asked_period(session, values)
    types = list(values["sales_type"])
    for name in types:
        if name not in session.sales_types:
            known = ", ".join(session.sales_types) or "none"
            raise BadQuestion(f"sales_type: no such type in release {session.number}; it has {known}")
    rows = query(session, "revenue_daily", first=period.first, last=period.last, sales_types=types)
    return RevenueDaily(
        release=session.number, period=period, totals=totals(rows), rows=[RevenueDay(**row) for row in rows]
    )


def products_top(session: Session, values: Values) -> ProductsTop:
    """Return the products that sold most, and what all others add up to."""
    need(session, "product_daily")
    period = asked_period(session, values)
    between = {"first": period.first, "last": period.last}
    rows = query(session, "products_top", **between, by=values["by"], limit=values["limit"])
    [whole] = query(session, "product_sums", **between)
    rest = ProductSums(
        products=whole["products"] - len(rows),
        quantity=whole["quantity"] - sum((row["quantity"] for row in rows), Decimal()),
        revenue=whole["revenue"] - sum((row["revenue"] for row in rows), Decimal()),
    )
    return ProductsTop(
        release=session.number,
        period=period,
        by=values["by"],
        limit=values["limit"],
        totals=ProductSums(**whole),
        rest=rest,
        rows=[ProductLine(**row) for row in rows],
    )


def sources(session: Session, values: Values) -> Sources:
    """Return revenue by source."""
    need(session, "source_daily")
    period = asked_period(session, values)
    rows = query(session, "sources", first=period.first, last=period.last)
    lines = [SourceLine(**row, avg_check=average(row["revenue"], row["orders_count"])) for row in rows]
    return Sources(release=session.number, period=period, totals=totals(rows), rows=lines)


def asked_period(session: Session, values: Values) -> Period:
    """Return the period asked for, in the release's own days."""
    return period_of(values["from"], values["to"], today=session.today)


def need(session: Session, table: str) -> None:
    """Raise NothingThere unless the release has the table."""
    if table not in session.tables:
        known = ", ".join(session.tables) or "none"
        raise NothingThere(f"release {session.number} has no gold table {table}; it has {known}")


def sums(session: Session, period: Period | None) -> Row:
    """Return the period's sums and quotients; nothing where there is no period or no table."""
    if period is None:
        return {}
    between = {"first": period.first, "last": period.last}
    [found] = query(session, "revenue_sums", **between)
    found["avg_check"] = average(found["revenue"], found["orders_count"])
    if "returns_daily" in session.tables:
        [returns] = query(session, "returns_sums", **between)
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
    change = rounded(value - previous)
    return MoneyFigure(value, previous, change, percent(change, previous))


def count(now: Row, before: Row, name: str) -> CountFigure:
    """Return a count against its former value."""
    value, previous = now.get(name), before.get(name)
    if value is None or previous is None:
        return CountFigure(value, previous, None, None)
    return CountFigure(value, previous, value - previous, percent(value - previous, previous))
