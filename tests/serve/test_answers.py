"""Each figure of the API equals the same figure computed in plain Python from the rows."""

from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.serve.client import ask
from tests.serve.conftest import Served
from tests.serve.shop import COLUMNS, DAYS, LAST_DAY, TODAY, Row, Tables, add, between, cents, grouped

PERIODS = [
    (TODAY - timedelta(days=29), TODAY),
    (LAST_DAY, LAST_DAY),
    (LAST_DAY - timedelta(days=6), LAST_DAY),
    (LAST_DAY - timedelta(days=DAYS), LAST_DAY),
    (date(2026, 1, 20), date(2026, 2, 10)),
    (date(2020, 1, 1), date(2020, 1, 31)),
]


def quotient(money: Decimal, count: Decimal) -> Decimal | None:
    """Return money per piece; None if the count is 0."""
    return cents(money / count) if count else None


def percent(part: Decimal | None, whole: Decimal | None) -> Decimal | None:
    """Return a share in percent; None if it can't be computed."""
    return cents(part * 100 / abs(whole)) if whole and part is not None else None


def figures(tables: Tables, first: date, last: date) -> dict[str, Any]:
    """Return the expected figures of a period."""
    orders, returns = (between(tables[name], first, last) for name in ("revenue_daily", "returns_daily"))
    revenue, count = add(orders, "revenue"), add(orders, "orders_count")
    return {
        "revenue": revenue,
        "orders_count": count,
        "avg_check": quotient(revenue, count),
        "returns_count": add(returns, "returns_count"),
        "returns_amount": add(returns, "returns_amount"),
        "returns_percent": percent(add(returns, "returns_count"), add(returns, "orders_count")),
    }


@pytest.mark.parametrize(("first", "last"), PERIODS)
def test_summary_is_the_sum_of_the_rows(served: Served, first: date, last: date) -> None:
    """A figure has its value in the period, in the period of the same length before it, and the change."""
    answer = ask(served.base, f"/api/summary?from={first}&to={last}").json
    days = (last - first).days + 1
    before_first, before_last = first - timedelta(days=days), first - timedelta(days=1)
    assert answer["release"] == 2
    assert answer["period"] == {"from": str(first), "to": str(last)}
    assert answer["previous_period"] == {"from": str(before_first), "to": str(before_last)}
    now = figures(served.tables, first, last)
    before = figures(served.tables, before_first, before_last)
    for name, value in now.items():
        former = before[name]
        known = value is not None and former is not None
        change = value - former if known else None
        expected = {
            "value": value,
            "previous": former,
            "change": change,
            "change_percent": percent(change, former),
        }
        assert answer[name] == expected, name


@pytest.mark.parametrize(("first", "last"), PERIODS)
@pytest.mark.parametrize("kinds", [(), ("retail",), ("b2b", "other")])
def test_revenue_by_day(served: Served, first: date, last: date, kinds: tuple[str, ...]) -> None:
    """The answer has the rows of the table, and the totals are their sums."""
    types = "".join(f"&sales_type={kind}" for kind in kinds)
    answer = ask(served.base, f"/api/revenue/daily?from={first}&to={last}{types}").json
    rows = [
        row
        for row in between(served.tables["revenue_daily"], first, last)
        if not kinds or row["sales_type"] in kinds
    ]
    expected = sorted(rows, key=lambda row: (row["date"], row["sales_type"]))
    assert answer["rows"] == [{**row, "date": str(row["date"])} for row in expected]
    revenue, orders = add(rows, "revenue"), add(rows, "orders_count")
    assert answer["totals"] == {
        "revenue": revenue,
        "orders_count": orders,
        "avg_check": quotient(revenue, orders),
    }


def product_key(row: Row) -> tuple[Any, Any]:
    """Return what identifies a product: its id, or its name if it has no id."""
    return (row["product_id"], None if row["product_id"] is not None else row["product_name"])


@pytest.mark.parametrize(("first", "last"), PERIODS)
@pytest.mark.parametrize("by", ["revenue", "quantity"])
def test_top_products(served: Served, first: date, last: date, by: str) -> None:
    """A product that was renamed counts as one, and rows and rest add up to the totals."""
    answer = ask(served.base, f"/api/products/top?from={first}&to={last}&by={by}&limit=5").json
    rows = between(served.tables["product_daily"], first, last)
    products = grouped(rows, product_key)
    assert answer["totals"] == {
        "products": len(products),
        "quantity": add(rows, "quantity"),
        "revenue": add(rows, "revenue"),
    }
    best = sorted((add(group, by) for group in products.values()), reverse=True)[:5]
    assert [row[by] for row in answer["rows"]] == best
    for row in answer["rows"]:
        group = products[product_key(row)]
        newest = max(group, key=lambda item: item["date"])
        assert row["product_name"] == newest["product_name"]
        assert (row["brand"], row["category_id"]) == (newest["brand"], newest["category_id"])
        assert (row["quantity"], row["revenue"]) == (add(group, "quantity"), add(group, "revenue"))
    for name in ("quantity", "revenue"):
        assert add(answer["rows"], name) + answer["rest"][name] == answer["totals"][name]
    assert len(answer["rows"]) + answer["rest"]["products"] == answer["totals"]["products"]


@pytest.mark.parametrize(("first", "last"), PERIODS)
def test_sources(served: Served, first: date, last: date) -> None:
    """Each source has one row, the largest first, and its average is that of all its orders."""
    answer = ask(served.base, f"/api/sources?from={first}&to={last}").json
    rows = between(served.tables["source_daily"], first, last)
    expected = {}
    for source, group in grouped(rows, lambda row: row["source_id"]).items():
        revenue, orders = add(group, "revenue"), add(group, "orders_count")
        expected[source] = (group[0]["source_name"], revenue, orders, quotient(revenue, orders))
    assert {
        row["source_id"]: (row["source_name"], row["revenue"], row["orders_count"], row["avg_check"])
        for row in answer["rows"]
    } == expected
    assert [row["revenue"] for row in answer["rows"]] == sorted(
        (row[1] for row in expected.values()), reverse=True
    )
    assert add(answer["rows"], "revenue") == answer["totals"]["revenue"] == add(rows, "revenue")


def test_period_ends_today_by_default(served: Served) -> None:
    """Today is the day up to which the CRM was read, not that of the newest order, which may lie ahead."""
    assert ask(served.base, "/api/summary").json["period"] == {"from": "2026-03-01", "to": "2026-03-30"}
    assert ask(served.base, "/api/summary?from=2026-03-29").json["period"]["to"] == "2026-03-30"
    assert ask(served.base, "/api/summary?from=2026-04-02").json["period"]["to"] == "2026-04-02"
    assert ask(served.base, "/api/summary?to=2026-01-31").json["period"]["from"] == "2026-01-02"
    status = ask(served.base, "/api/status").json
    assert (status["today"], status["last_order_date"]) == (str(TODAY), str(LAST_DAY))


def test_older_release_still_answers(served: Served) -> None:
    """``release=1`` returns the figures of release 1, which differ from the current ones."""
    answer = ask(served.base, f"/api/summary?from={TODAY}&to={TODAY}&release=1").json
    assert answer["release"] == 1
    assert answer["revenue"]["value"] == figures(served.older, TODAY, TODAY)["revenue"]
    assert answer["revenue"]["value"] != figures(served.tables, TODAY, TODAY)["revenue"]


def test_status_names_release_and_run(served: Served) -> None:
    """The status has the release, the last ingest and the number of rows of each table."""
    status = ask(served.base, "/api/status").json
    assert (status["release"], status["kind"], status["problem"]) == (2, "sync", None)
    assert status["last_run"]["verdict"] == "complete"
    assert status["rows"] == {f"gold.{name}": len(rows) for name, rows in served.tables.items()}
    assert ask(served.base, "/api/health").json == {"status": "ok", "release": 2}


def test_releases_newest_first(served: Served) -> None:
    """The list has the number of releases and the revenue of each, newest first."""
    answer = ask(served.base, "/api/releases").json
    assert [line["release"] for line in answer["releases"]] == [2, 1]
    assert answer["total"] == 2
    assert answer["releases"][0]["revenue"] == add(served.tables["revenue_daily"], "revenue")
    assert [line["release"] for line in ask(served.base, "/api/releases?limit=1").json["releases"]] == [2]


def test_tables_are_listed_without_the_partition_column(served: Served) -> None:
    """A listed table has its columns with types and its number of rows, but not ``month``."""
    listed = {table["table"]: table for table in ask(served.base, "/api/tables").json["tables"]}
    assert set(listed) == set(COLUMNS)
    for name, columns in COLUMNS.items():
        assert {column["name"]: column["type"] for column in listed[name]["columns"]} == {
            column: kind.removesuffix("?") for column, kind in columns.items()
        }
        assert listed[name]["rows"] == len(served.tables[name])


@pytest.mark.parametrize("name", list(COLUMNS))
def test_pages_of_a_table_hold_every_row_once(served: Served, name: str) -> None:
    """A client that follows ``next`` to the end gets each row of the table once, in order."""
    url: str | None = f"/api/tables/{name}?limit=97&order=-date"
    rows: list[Row] = []
    while url:
        page = ask(served.base, url).json
        assert page["total"] == len(served.tables[name])
        rows += page["rows"]
        url = page["next"]
        assert url is None or "release=2" in url
    expected = [{**row, "date": str(row["date"])} for row in served.tables[name]]
    assert Counter(tuple(row.values()) for row in rows) == Counter(tuple(row.values()) for row in expected)
    assert [row["date"] for row in rows] == sorted((row["date"] for row in rows), reverse=True)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("sales_type=retail", lambda row: row["sales_type"] == "retail"),
        ("sales_type=retail&sales_type=b2b", lambda row: row["sales_type"] in ("retail", "b2b")),
        ("from=2026-03-01&to=2026-03-05", lambda row: "2026-03-01" <= str(row["date"]) <= "2026-03-05"),
        (
            "date=2026-03-03&sales_type=other",
            lambda row: (str(row["date"]), row["sales_type"]) == ("2026-03-03", "other"),
        ),
        ("orders_count=7", lambda row: row["orders_count"] == 7),
        ("sales_type=unknown", lambda row: False),
        ("sales_type=%27%3B+drop+table+x%3B--", lambda row: False),
    ],
)
def test_filters(served: Served, query: str, wanted: Any) -> None:
    """A column as a parameter filters by its value; repeated, by any of them; several columns, by all."""
    answer = ask(served.base, f"/api/tables/revenue_daily?{query}&limit=10000").json
    expected = [row for row in served.tables["revenue_daily"] if wanted(row)]
    assert answer["total"] == len(expected) == len(answer["rows"])
    assert add(answer["rows"], "revenue") == add(expected, "revenue")


def test_money_is_written_exactly(served: Served) -> None:
    """Money in JSON has exactly two decimal places, so a client can read it without floats."""
    row = ask(served.base, "/api/tables/revenue_daily?limit=1").body.decode()
    value = row.split('"revenue":')[1].split(",")[0]
    assert value == f"{Decimal(value):.2f}"
