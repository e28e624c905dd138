"""What is in no number of a release is stated with every total: API, page and status."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from lake.delta.contract import Contract
from lake.delta.tables import create_table
from lake.ledgers.status import read_status
from lake.paths import Lake
from lake.releases.release import Release, find_release
from tests.serve.client import ask
from tests.serve.shop import make_tables, publish_versions, record_run, write
from tests.support.running import environ_of, server
from transform.models import read_models

ROWS = [
    ("order", "refused", "USD", 2, 1, "1234.50"),
    ("order", "total_is_not_negative", "USD", 1, 0, "-0.20"),
    ("order", "currency_has_rate", "UAH", 3, 0, "17850.15"),
    ("expense", "currency_has_rate", "EUR", 1, 0, "10.13"),
]
COLUMNS = next(m.header.columns for m in read_models() if m.name == "gold.uncounted_records")
LINE = "6 orders, $ 1,234.30 + ₴ 17,850.15 (1 unreadable) and 1 expense, € 10.13 are not in these numbers"
PATHS = (
    "/api/status",
    "/api/summary",
    "/api/revenue/daily",
    "/api/products/top",
    "/api/sources",
    "/api/releases",
    "/api/tables",
    "/api/tables/revenue_daily",
)


def publish(lake: Lake, rows: list[tuple[Any, ...]]) -> Release:
    """Publish a shop whose currency is the dollar, with these records in no number."""
    versions = {f"gold.{name}": write(lake, name, rows) for name, rows in make_tables(days=2).items()}
    missing = [dict(zip(COLUMNS, (*row[:5], Decimal(row[5])), strict=True)) for row in rows]
    for name, columns, content in (
        ("gold.uncounted_records", COLUMNS, missing),
        ("rules.currency", {"currency": "VARCHAR"}, [{"currency": "USD"}]),
    ):
        schema = Contract.of(columns).schema
        versions[name] = create_table(lake, name, schema).replace(
            pa.Table.from_pylist(content, schema=schema)
        )
    return publish_versions(lake, versions)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Lake]]:
    """Serve a release with nothing missing, and one with records in no number."""
    lake = Lake(root=str(tmp_path_factory.mktemp("odd") / "lake"), durable=False)
    publish(lake, [])
    publish(lake, ROWS)
    record_run(lake)
    with server(environ_of(lake)) as base:
        yield base, lake


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_with_totals_states_what_is_missing(odd: tuple[str, Lake], path: str) -> None:
    """The answer has counts, the sum in the shop's currency, and a row for each rule and currency."""
    base, _ = odd
    found = ask(base, path).json["not_counted"]
    assert found.pop("rows") == [
        dict(zip(COLUMNS, (*row[:5], Decimal(row[5])), strict=True))
        for row in sorted(ROWS, key=lambda row: row[:3])
    ]
    assert found == {
        "orders_count": 6,
        "expenses_count": 1,
        "amount": Decimal("1234.30"),
        "currency": "USD",
    }
    assert ask(base, f"{path}?release=1").json["not_counted"] == {
        "orders_count": 0,
        "expenses_count": 0,
        "amount": Decimal("0.00"),
        "currency": "USD",
        "rows": [],
    }


def test_the_metrics_have_what_is_missing(odd: tuple[str, Lake]) -> None:
    """Prometheus gets the number of records by kind, and the money by kind, rule and currency."""
    base, _ = odd
    text = ask(base, "/metrics").body.decode()
    assert 'keylake_not_counted_records{kind="order"} 6.0' in text
    assert 'keylake_not_counted_records{kind="expense"} 1.0' in text
    for kind, rule, code, _, _, amount in ROWS:
        labels = f'{{currency="{code}",kind="{kind}",rule="{rule}"}}'
        assert f"keylake_not_counted_amount{labels} {float(amount)}" in text


def test_the_page_is_green_only_if_nothing_is_missing(odd: tuple[str, Lake]) -> None:
    """The page states the records and their money, and its amounts have the sign of the shop's currency."""
    base, _ = odd
    page, green = (
        ask(base, path).body.decode().replace("\u00a0", " ") for path in ("/?days=30", "/?days=30&release=1")
    )
    assert "6 orders, $ 1 234,30 + ₴ 17 850,15 (1 unreadable) and 1 expense, € 10,13 are not in these" in page
    assert '<li id="run" class="none">' in page
    assert "not in these numbers" not in green
    assert "₴" not in green
    assert '<p class="value">$ ' in green
    assert '"currency":"$"' in green


def test_the_status_states_what_is_missing(odd: tuple[str, Lake]) -> None:
    """The line names the records, their money, and where to look."""
    _, lake = odd
    line = f'{LINE}: `just sql "from gold.uncounted_records"`, `just checks`'
    assert line in read_status(lake).headline.splitlines()
    assert "not in these numbers" not in read_status(lake, find_release(lake, 1)).headline
