"""Ingest into an object store: it has the shop's orders, and DuckDB reads them there."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from ingest.sandbox import edits
from ingest.sandbox.command import ThreadedShop
from lake.ledgers.runs import Run, last_runs
from lake.ledgers.status import read_status
from lake.maintenance.compaction import compact
from lake.paths import Lake
from lake.query.session import fetch, open_session
from lake.releases.release import find_release
from lake.settings import LakeSettings
from tests.support.running import environ_of, succeed
from tests.support.shop_edits import edit, lake_orders, pass_time, shop_orders, versions
from tests.support.simulated_lake import at

Ingest = Callable[..., Run]
DOUBLED = "select id, payload_hash, fetched_at from bronze.orders group by all having count(*) > 1"


@pytest.fixture
def lake(s3_lake: Lake) -> Lake:
    """A lake in the object store."""
    return s3_lake


@pytest.mark.slow
def test_the_store_has_the_orders_of_the_shop(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """If the shop is unchanged, a second ingest writes nothing, and compacted files read the same."""
    assert lake.catalogue is None
    assert ingest("full").verdict == "complete"
    ours = lake_orders(lake, engine)
    assert ours == shop_orders(shop)
    assert len(ours) > 500
    before = versions(lake)
    assert ingest("incremental").appended == {}
    assert versions(lake) == before
    pass_time(shop, days=1)
    edit(shop, edits.SetStatus(7, 19, bump=True))
    assert ingest("incremental").appended["bronze.orders"] > 1
    assert lake_orders(lake, engine) == shop_orders(shop)
    last, complete = last_runs(lake)
    assert last == complete
    # By then every day is finished.
    assert {done.table for done in compact(lake, now=at(3650))} >= {"bronze.orders", "bronze.order_products"}
    assert lake_orders(lake, engine) == shop_orders(shop)
    rows = {table.table: table.rows for table in read_status(lake).tables}
    assert rows["bronze.orders"] >= len(ours)


@pytest.mark.slow
def test_two_concurrent_ingests_lose_and_double_nothing(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """A store has no locks: if two commits claim one version, one of them is repeated."""
    ingest("full")
    pass_time(shop, days=2)
    with ThreadPoolExecutor(2) as threads:
        runs = list(threads.map(ingest, ("incremental", "sweep")))
    assert [run.verdict for run in runs] == ["complete", "complete"]
    assert lake_orders(lake, engine) == shop_orders(shop)
    with open_session(lake, engine, None) as session:
        assert fetch(session, DOUBLED).num_rows == 0
        assert session.execute("select count(*) from ops.runs").fetchall() == [(3,)]


@pytest.mark.slow
def test_the_commands_work_on_a_store(shop: ThreadedShop, lake: Lake, engine: LakeSettings) -> None:
    """From the first load to a query, each command gets its credentials from the environment."""
    environ = environ_of(lake, shop.url)
    succeed(environ, "ingest", "full")
    succeed(environ, "transform")
    release = find_release(lake, None)
    printed = succeed(
        environ, "lake", "sql", "select sum(revenue) as r from gold.revenue_daily", "--format", "csv"
    )
    assert printed.split() == ["r", str(release.money["gold.revenue_daily"])]
    assert printed == succeed(
        environ,
        "lake",
        "sql",
        "select sum(grand_total) as r from silver.orders where not is_return",
        "--as-of",
        "1",
        "--format",
        "csv",
    )
    assert "release 1 (" in succeed(environ, "lake", "status")
    assert "nothing to delete" in succeed(environ, "lake", "maintain")
