"""Shop: the gold tables of a small shop, and its figures computed in plain Python."""

import random
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pyarrow as pa

from lake.delta.contract import Contract
from lake.delta.tables import create_table
from lake.ledgers.runs import write_run
from lake.paths import Lake
from lake.releases.release import Release, current_release, publish
from serve.slots import SlotClaims
from tests.support.receipts import receipt

Row = dict[str, Any]
Tables = dict[str, list[Row]]
LAST_DAY = date(2026, 3, 31)
TODAY = date(2026, 3, 30)
THROUGH = datetime(2026, 3, 30, 12, tzinfo=UTC)
DAYS = 75
COLUMNS = {
    "revenue_daily": {
        "date": "DATE",
        "sales_type": "VARCHAR",
        "revenue": "DECIMAL(18,2)",
        "orders_count": "BIGINT",
        "avg_check": "DECIMAL(18,2)",
    },
    "product_daily": {
        "date": "DATE",
        "product_id": "BIGINT?",
        "product_name": "VARCHAR",
        "category_id": "BIGINT?",
        "brand": "VARCHAR?",
        "quantity": "DECIMAL(18,3)",
        "revenue": "DECIMAL(18,2)",
    },
    "source_daily": {
        "date": "DATE",
        "source_id": "BIGINT",
        "source_name": "VARCHAR?",
        "revenue": "DECIMAL(18,2)",
        "orders_count": "BIGINT",
        "avg_check": "DECIMAL(18,2)",
    },
    "returns_daily": {
        "date": "DATE",
        "sales_type": "VARCHAR",
        "returns_count": "BIGINT",
        "returns_amount": "DECIMAL(18,2)",
        "orders_count": "BIGINT",
    },
}


def cents(value: Decimal) -> Decimal:
    """Return the value to two places, half away from zero."""
    return value.quantize(Decimal("0.01"), ROUND_HALF_UP)


def make_tables(seed: int = 1, *, days: int = DAYS) -> Tables:
    """Return the rows of every gold table; each seed makes another shop."""
    dice = random.Random(seed)
    tables: Tables = {name: [] for name in COLUMNS}
    for back in range(days):
        day = LAST_DAY - timedelta(days=back)
        for kind in ("retail", "b2b", "other") if back % 9 else ("retail",):
            revenue, orders = Decimal(dice.randint(1, 5_000_000)) / 100, dice.randint(1, 40)
            average = cents(revenue / orders)
            tables["revenue_daily"].append(
                {
                    "date": day,
                    "sales_type": kind,
                    "revenue": revenue,
                    "orders_count": orders,
                    "avg_check": average,
                }
            )
            returned = dice.randint(0, 3)
            tables["returns_daily"].append(
                {
                    "date": day,
                    "sales_type": kind,
                    "returns_count": returned,
                    "returns_amount": Decimal(returned * dice.randint(1, 99999)) / 100,
                    "orders_count": orders + returned,
                }
            )
        for product in dice.sample(range(1, 30), 8):
            known = product < 27
            tables["product_daily"].append(
                {
                    "date": day,
                    "product_id": product if known else None,
                    "product_name": f"Крем № {product}"
                    if back % 5 or product > 3
                    else f"Крем старий № {product}",
                    "category_id": product % 4 if known else None,
                    "brand": [None, "Lumé", "Весна"][product % 3] if known else None,
                    "quantity": Decimal(dice.randint(1, 9000)) / 1000,
                    "revenue": Decimal(dice.randint(1, 900_000)) / 100,
                }
            )
        for source, name in ((1, "Instagram"), (4, "Shopify"), (9, None)):
            revenue, orders = Decimal(dice.randint(1, 3_000_000)) / 100, dice.randint(1, 25)
            tables["source_daily"].append(
                {
                    "date": day,
                    "source_id": source,
                    "source_name": name,
                    "revenue": revenue,
                    "orders_count": orders,
                    "avg_check": cents(revenue / orders),
                }
            )
    return tables


def publish_gold(lake: Lake, tables: Tables, *, at: datetime | None = None) -> Release:
    """Write the tables and publish a release of them, as a build does."""
    versions = {f"gold.{name}": write(lake, name, rows) for name, rows in tables.items()}
    revenue = sum((row["revenue"] for row in tables.get("revenue_daily", [])), Decimal())
    return publish_versions(lake, versions, revenue, at=at)


def write(lake: Lake, name: str, rows: list[Row]) -> int:
    """Replace the table's rows; return the version."""
    schema = Contract.of({**COLUMNS[name], "month": "DATE"}).schema
    monthly = [{**row, "month": row["date"].replace(day=1)} for row in rows]
    table = create_table(lake, f"gold.{name}", schema, partition_by=["month"])
    return table.replace(pa.Table.from_pylist(monthly, schema=schema))


def publish_versions(
    lake: Lake, versions: dict[str, int], revenue: Decimal = Decimal(), *, at: datetime | None = None
) -> Release:
    """Publish a release that names these versions."""
    parent = current_release(lake)
    release = Release(
        release=parent.release + 1 if parent else 1,
        published_at=at or datetime.now(UTC),
        kind="sync",
        parent=parent.release if parent else None,
        tables=versions,
        consumed={},
        money={"gold.revenue_daily": revenue},
        complete_through=THROUGH,
    )
    publish(lake, release)
    return release


def record_run(
    lake: Lake, *, verdict: str = "complete", reason: str | None = None, at: datetime | None = None
) -> None:
    """Write the receipt of an ingest that ended now, or at ``at``."""
    now = at or datetime.now(UTC)
    write_run(lake, receipt(now, verdict=verdict, reason=reason))


def fail_job(lake: Lake, job: str = "sync", *, at: datetime | None = None) -> None:
    """Record that a job of the schedule failed, now or at ``at``."""
    ended = at or datetime.now(UTC)
    reason = "transform: no total falls by more than 20%: 90 rows fewer"
    SlotClaims(lake, holder="test").close(job, ended, now=ended, exit_code=3, detail=reason)


def between(rows: Iterable[Row], first: date, last: date) -> list[Row]:
    """Return the rows of a period."""
    return [row for row in rows if first <= row["date"] <= last]


def add(rows: Iterable[Row], column: str) -> Any:
    """Return the sum of a column."""
    return sum((row[column] for row in rows), Decimal(0))


def grouped(rows: Iterable[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    """Return the rows grouped by key."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups
