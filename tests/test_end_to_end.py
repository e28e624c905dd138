"""From the CRM to a published figure: two years of a sandbox shop, through the real commands and server."""

import json
import urllib.request
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec
import pytest

from ingest.sandbox import edits
from ingest.sandbox.command import ThreadedShop, serving
from ingest.sandbox.faults import Fault
from ingest.sandbox.running import RunningShop
from ingest.sandbox.settings import Sandbox
from ingest.sandbox.truth import Truth
from lake.delta.tables import open_table
from lake.paths import Lake
from lake.releases.release import current_release
from tests.support.recompute import counted, day_of, is_return, product_daily, revenue_daily, sales_type
from tests.support.running import environ_of, run, server, succeed

pytestmark = pytest.mark.slow

# Every change moves updated_at here, because only a sweep, not a sync, finds changes that do not.
TWO_YEARS = Sandbox(
    port=0,
    orders_per_day=15.0,  # 11,000 orders: a full load commits several times
    day_seconds=0,
    requests_per_minute=0,
    status_bumps_updated_at=1.0,
    line_edit_bumps_updated_at=1.0,
)


class Shop(msgspec.Struct):
    """A filled lake, its running shop, and the environment of commands on both."""

    lake: Lake
    shop: ThreadedShop
    environ: dict[str, str]

    @property
    def truth(self) -> Truth:
        """The present state of the shop."""
        return self.shop.call(lambda running: running.world.truth())


@pytest.fixture(scope="module")
def two_years(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Two years of the shop, ingested and published once for all tests of this module."""
    lake = Lake(root=str(tmp_path_factory.mktemp("two-years") / "lake"), durable=False)
    with serving(TWO_YEARS) as shop:
        environ = environ_of(lake, shop.url, KEYLAKE_INGEST_EVERY_MINUTES='{"products": 0}')
        succeed(environ, "ingest", "full")
        succeed(environ, "transform")
        yield Shop(lake, shop, environ)


def apply(change: edits.Edit, running: RunningShop) -> None:
    """Apply one change to a running shop."""
    edits.apply(running.world, change)


def read(url: str) -> Any:
    """Return an endpoint's response, with its numbers as decimals."""
    with urllib.request.urlopen(url, timeout=300) as answer:
        return json.loads(answer.read(), parse_float=Decimal)


def rows_of(api: str, table: str) -> list[dict[str, Any]]:
    """Return every row of a gold table, read page by page as a client does."""
    rows: list[dict[str, Any]] = []
    following: str | None = f"/api/tables/{table}?limit=10000"
    while following:
        answer = read(api + following)
        rows += answer["rows"]
        following = answer["next"]
    assert len(rows) == answer["total"]
    return rows


def served_revenue(api: str) -> dict[tuple[date, str], tuple[Decimal, int, Decimal]]:
    """Return ``{(date, sales type): (revenue, orders, average)}`` as the API serves it."""
    return {
        (date.fromisoformat(row["date"]), row["sales_type"]): (
            Decimal(row["revenue"]),
            row["orders_count"],
            Decimal(row["avg_check"]),
        )
        for row in rows_of(api, "revenue_daily")
    }


def served_products(api: str) -> dict[tuple[Any, ...], tuple[Decimal, Decimal]]:
    """Return ``{(date, id, name, category, brand): (quantity, revenue)}`` as the API serves it."""
    return {
        (
            date.fromisoformat(row["date"]),
            row["product_id"],
            row["product_name"],
            row["category_id"],
            row["brand"],
        ): (Decimal(row["quantity"]), Decimal(row["revenue"]))
        for row in rows_of(api, "product_daily")
    }


def test_the_two_years_contain_every_kind_of_order(two_years: Shop) -> None:
    """The orders vary in source, sales type, status, buyer, lines, expenses and time."""
    orders = two_years.truth.orders
    alive = list(counted(two_years.truth))
    assert {order.source_id for order in orders} == {1, 2, 3, 4, 5}
    assert {sales_type(order) for order in alive} == {"retail", "b2b", "other"}
    assert {order.status_id for order in alive if is_return(order)} == {19, 21, 22, 23}
    assert any(order.manager_id is None and order.source_id == 4 for order in alive)
    assert any(order.is_deleted for order in orders)
    assert any(order.buyer_id is None for order in alive)
    assert any(Decimal(order.grand_total) == 0 and order.lines for order in alive)
    assert any(line.product_id is None for order in alive for line in order.lines)
    assert any(Decimal(line.quantity) % 1 for order in alive for line in order.lines)
    assert any(len(order.expenses) > 1 for order in alive)
    # Some orders have another day in Kyiv than in UTC, in winter and in summer.
    moved = [order for order in alive if day_of(order).isoformat() != order.ordered_at[:10]]
    assert {datetime.fromisoformat(order.ordered_at).month for order in moved} >= {1, 7}
    assert any(order.created_at < order.ordered_at for order in alive)


def test_served_figures_equal_the_recomputation_to_the_cent(two_years: Shop) -> None:
    """The API serves the recomputed figures of every day, sales type and product of two years."""
    with server(two_years.environ) as api:
        assert served_revenue(api) == revenue_daily(two_years.truth)
        assert served_products(api) == product_daily(two_years.truth)


def test_incremental_syncs_equal_the_recomputation_to_the_cent(two_years: Shop) -> None:
    """After three days of orders and edits, incremental syncs serve the recomputed figures."""
    newest = max(order.id for order in counted(two_years.truth))
    changes: list[edits.Edit] = [
        edits.SetStatus(newest, 22),
        edits.EditOrder(newest - 1, grand_total=Decimal("12345.67")),
        edits.EditOrder(newest - 2, ordered_at=datetime(2026, 3, 28, 22, 30, tzinfo=UTC)),
        edits.Rename("product", 5, "Інша назва"),
    ]
    for change in changes:
        two_years.shop.call(partial(apply, change))
    for _ in range(3):
        two_years.shop.call(lambda running: running.world.advance(running.world.now + timedelta(days=1)))
        succeed(two_years.environ, "serve", "sync")
    with server(two_years.environ) as api:
        assert served_revenue(api) == revenue_daily(two_years.truth)
        assert served_products(api) == product_daily(two_years.truth)


def test_deleted_order_leaves_revenue_and_a_restored_one_returns(two_years: Shop) -> None:
    """The next release drops an order if the CRM answers 404 for it, and has it again when the CRM does."""
    succeed(two_years.environ, "serve", "sync")
    newest = max(order.id for order in counted(two_years.truth))
    figures = [revenue_daily(two_years.truth)]
    for change in (edits.DeleteOrder(newest), edits.RestoreOrder(newest)):
        two_years.shop.call(partial(apply, change))
        succeed(two_years.environ, "serve", "sync")
        figures.append(revenue_daily(two_years.truth))
        with server(two_years.environ) as api:
            assert served_revenue(api) == figures[-1]
    assert figures[0] == figures[2] != figures[1]


def test_sync_of_an_unchanged_shop_writes_only_its_receipt(two_years: Shop) -> None:
    """If nothing changed in the CRM, a sync appends its receipt and commits to no other table."""
    succeed(two_years.environ, "serve", "sync")
    before = versions(two_years.lake)
    assert "nothing" in succeed(two_years.environ, "serve", "sync")
    after = versions(two_years.lake)
    assert {name: version for name, version in after.items() if before[name] != version} == {
        "ops.runs": before["ops.runs"] + 1
    }


def versions(lake: Lake) -> dict[str, int]:
    """Return the head version of every table except the schedule's."""
    names = [name for layer in ("bronze", "rules", "silver", "gold", "ops") for name in lake.tables(layer)]
    return {name: open_table(lake, name).version for name in names}


def test_an_incomplete_history_is_not_published(lake: Lake) -> None:
    """If a page of the first load fails, the load and the build exit with 4, and no release is published."""
    with serving(msgspec.structs.replace(TWO_YEARS, days=60)) as shop:
        environ = environ_of(lake, shop.url, KEYLAKE_SOURCE_ATTEMPTS="2")
        fault = Fault(kind="status", path="/order", page=3, status=503, times=1000)
        shop.call(lambda running: running.shop.plan.add(fault))
        assert run(environ, "ingest", "full").returncode == 4
        done = run(environ, "transform")
        assert (done.returncode, done.stderr.count("\n")) == (4, 1)
        assert "ingest full" in done.stderr
        assert not current_release(lake)
        shop.call(lambda running: running.shop.plan.clear())
        succeed(environ, "ingest", "full")
        succeed(environ, "transform")
