"""Kinds of run: what each finds that the others can't, and how an incomplete one continues."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal

import msgspec
import pytest
from structlog.testing import capture_logs

from ingest.run import RunRequest
from ingest.sandbox import edits
from ingest.sandbox.command import ThreadedShop, serving
from lake.delta.tables import open_table
from lake.ledgers.runs import Run, list_runs
from lake.paths import Lake
from lake.query.session import open_session
from lake.settings import LakeSettings
from tests.ingest.conftest import SMALL
from tests.support.shop_edits import add_fault, edit, lake_orders, pass_time, shop_orders, versions

pytestmark = pytest.mark.slow

Ingest = Callable[..., Run]
SWEEP_ALL = RunRequest(kind="sweep")


def requests_by_path(shop: ThreadedShop) -> dict[str, int]:
    """Return the number of requests per path since the last call, and reset the count."""
    counts = dict(shop.call(lambda running: running.shop.tally.counts()).by_path)
    shop.call(lambda running: running.shop.tally.reset())
    return counts


@pytest.mark.usefixtures("loaded")
def test_a_sweep_finds_silent_edits(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """If an old status changes without a new updated_at, no sync can see it, but comparing content can."""
    edit(
        shop, edits.SetStatus(3, 22, bump=False), edits.EditOrder(8, grand_total=Decimal("1.11"), bump=False)
    )
    ingest("incremental")
    assert lake_orders(lake, engine) != shop_orders(shop)
    run = ingest("sweep", request=SWEEP_ALL)
    assert (run.verdict, run.watermark) == ("complete", None)
    assert lake_orders(lake, engine) == shop_orders(shop)
    assert ingest("sweep", request=SWEEP_ALL).appended == {}


@pytest.mark.usefixtures("loaded")
def test_a_sweep_of_days_reads_no_older_orders(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """The days count back from the CRM's time."""
    newest = max(shop_orders(shop))
    edit(shop, edits.SetStatus(3, 22, bump=False), edits.SetStatus(newest, 22, bump=False))
    ingest("sweep", request=RunRequest(kind="sweep", days=5))
    assert lake_orders(lake, engine)[newest] == shop_orders(shop)[newest]
    assert lake_orders(lake, engine)[3] != shop_orders(shop)[3]


@pytest.mark.parametrize("kind", ["incremental", "sweep", "full", "window"])
@pytest.mark.usefixtures("loaded")
def test_a_vanished_order_becomes_a_tombstone_after_a_404_and_comes_back(
    kind: str, ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """Each kind that reads the window of its creation finds it, and requests it once by its id."""
    now = shop.call(lambda running: running.world.now)
    span = {"since": now - timedelta(days=2), "until": now + timedelta(days=1)}
    request = msgspec.convert({"kind": kind, **span}, RunRequest)
    newest = max(shop_orders(shop))
    edit(shop, edits.DeleteOrder(newest))
    run = ingest(kind, request=request)
    assert run.verdict == "complete", run.reason
    assert newest not in lake_orders(lake, engine)
    assert lake_orders(lake, engine) == shop_orders(shop)
    before = versions(lake)
    ingest(kind, request=request)
    assert versions(lake) == before
    edit(shop, edits.RestoreOrder(newest))
    ingest(kind, request=request)
    assert lake_orders(lake, engine) == shop_orders(shop)


@pytest.mark.usefixtures("loaded")
def test_a_list_that_loses_a_row_deletes_nothing(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """If an order is missing in a list, only a 404 for its id is a deletion."""
    add_fault(shop, kind="drop_row", path="/order", page=1, times=0)
    add_fault(shop, kind="total", path="/order", times=0, delta=-1)
    ingest("sweep", request=SWEEP_ALL)
    shop.call(lambda running: running.shop.plan.clear())
    assert lake_orders(lake, engine) == shop_orders(shop)


@pytest.mark.usefixtures("loaded")
def test_an_outage_is_no_deletion(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """If the request for a vanished id fails with 5xx, the run is incomplete and the order stays."""
    newest = max(shop_orders(shop))
    edit(shop, edits.DeleteOrder(newest))
    add_fault(shop, kind="status", path=f"/order/{newest}", status=503, times=0)
    assert ingest("incremental").verdict == "incomplete"
    assert newest in lake_orders(lake, engine)
    shop.call(lambda running: running.shop.plan.clear())
    assert ingest("incremental").verdict == "complete"
    assert newest not in lake_orders(lake, engine)


def test_gaps_in_the_ids_are_requested_once(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """A sweep copies an order that lists hid and stores a 404, so no id is requested twice."""
    deleted = [7, 8, 400]
    for number in deleted:
        edit(shop, edits.DeleteOrder(number))
    ingest("full")
    requests_by_path(shop)
    first = ingest("sweep", request=SWEEP_ALL)
    requested = {path for path in requests_by_path(shop) if path.startswith("/order/")}
    missing = set(range(1, max(shop_orders(shop)) + 1)) - shop_orders(shop).keys()
    assert missing >= set(deleted)
    assert first.verdict == "complete"
    ingest("sweep", request=SWEEP_ALL)
    again = {path for path in requests_by_path(shop) if path.startswith("/order/") and path[7:].isdigit()}
    assert requested
    assert again == set()
    edit(shop, edits.RestoreOrder(7))
    ingest("sweep", request=SWEEP_ALL)
    assert lake_orders(lake, engine) == shop_orders(shop)


def test_more_gaps_than_the_limit_are_left_to_the_next_run(
    ingest: Ingest, shop: ThreadedShop, lake: Lake
) -> None:
    """Each run is bounded and incomplete until no gap is left."""
    for number in range(10, 20):
        edit(shop, edits.DeleteOrder(number))
    ingest("full")
    verdicts = [ingest("sweep", request=SWEEP_ALL, orders_by_id=4) for _ in range(5)]
    assert verdicts[0].verdict == "incomplete"
    assert verdicts[0].reason
    assert "the next run goes on" in verdicts[0].reason
    assert verdicts[-1].verdict == "complete"


@pytest.mark.usefixtures("loaded")
def test_an_order_by_id_is_copied_or_gets_a_tombstone(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """An order that an operator names is requested with all its parts."""
    edit(shop, edits.EditOrder(3, grand_total=Decimal("9.99"), bump=False), edits.DeleteOrder(4))
    run = ingest("orders", request=RunRequest(kind="orders", ids=(3, 4, 3)))
    # The third request is for the list of orders: if the server had none, a 404 would delete nothing.
    assert (run.verdict, run.requests) == ("complete", 3)
    assert lake_orders(lake, engine) == shop_orders(shop)


@pytest.mark.usefixtures("loaded")
def test_a_window_reads_only_its_span(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """Silent edits of orders created in it and changes made in it are found, no others."""
    now = shop.call(lambda running: running.world.now)
    newest = max(shop_orders(shop))
    edit(shop, *(edits.SetStatus(number, 22, bump=False) for number in (newest, 3)), edits.SetStatus(4, 22))
    ingest(
        "window",
        request=RunRequest(kind="window", since=now - timedelta(days=2), until=now + timedelta(hours=1)),
    )
    assert lake_orders(lake, engine)[newest] == shop_orders(shop)[newest]
    assert lake_orders(lake, engine)[4] == shop_orders(shop)[4]
    assert lake_orders(lake, engine)[3] != shop_orders(shop)[3]


def test_a_full_load_continues_after_the_last_complete_window(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """If the CRM breaks in the third window, the next run reads that one and the later ones only."""
    add_fault(shop, kind="status", path="/order", page=2, nth=3, times=1000)
    broken = ingest("full", orders_per_window=200)
    assert broken.verdict == "incomplete"
    whole = {
        window.since
        for window in broken.windows
        if window.complete and window.by == "created" and window.until and window.until.year < 2100
    }
    assert whole
    shop.call(lambda running: running.shop.plan.clear())
    edit(shop, edits.EditOrder(2, grand_total=Decimal("8.88")))
    requests_by_path(shop)
    run = ingest("full", orders_per_window=200)
    assert run.verdict == "complete", run.reason
    assert not whole & {window.since for window in run.windows if window.by == "created"}
    counts = requests_by_path(shop)
    assert "/buyer" not in counts or counts["/buyer"] == 1
    assert lake_orders(lake, engine) == shop_orders(shop)
    assert ingest("full", orders_per_window=200).appended == {}


def test_a_finished_load_is_not_continued(ingest: Ingest, shop: ThreadedShop, lake: Lake) -> None:
    """A full run after a complete one starts with the first order."""
    first, second = ingest("full"), ingest("full")
    windows = [[window for window in run.windows if window.by == "created"] for run in (first, second)]
    assert [window.since for window in windows[0]] == [window.since for window in windows[1]]


@pytest.mark.usefixtures("loaded")
def test_lists_have_a_cadence(ingest: Ingest, shop: ThreadedShop, lake: Lake) -> None:
    """Products and offers are read once an hour, references in each run, unless set otherwise."""
    requests_by_path(shop)
    ingest("incremental", every_minutes={})
    counts = requests_by_path(shop)
    assert not {"/products", "/offers"} & counts.keys()
    assert {
        "/products/categories",
        "/users",
        "/order/status",
        "/order/source",
        "/order/expense-type",
    } <= counts.keys()
    ingest("incremental", every_minutes={"products": 0, "managers": 60})
    counts = requests_by_path(shop)
    assert {"/products", "/order/status"} <= counts.keys()
    assert not {"/offers", "/users"} & counts.keys()


def test_pages_that_drift_lose_nothing(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """If the total changes during a pass, the window is read again or halved."""
    add_fault(shop, kind="total", path="/order", page=2, times=3, delta=1)
    run = ingest("full")
    assert run.verdict == "complete", run.reason
    assert lake_orders(lake, engine) == shop_orders(shop)


def test_a_total_that_never_agrees_is_incomplete(ingest: Ingest, shop: ThreadedShop, lake: Lake) -> None:
    """The receipt has the number of ids that arrived and the CRM's count."""
    add_fault(shop, kind="total", path="/order", times=0, delta=1)
    run = ingest("full")
    assert run.verdict == "incomplete"
    assert any("distinct ids arrived, the CRM counted" in (window.reason or "") for window in run.windows)


def test_a_full_load_needs_six_requests_more_than_pages(
    ingest: Ingest, shop: ThreadedShop, lake: Lake
) -> None:
    """All includes come in one pass and nothing is fetched twice."""
    run = ingest("full", orders_per_window=5000)
    lists = sum(-(-window.seen // 50) for window in run.windows if window.entity != "orders")
    orders = -(-len(shop_orders(shop)) // 50)
    # Six requests at any size: the first and the last order, the window after now, the changes of orders and
    # buyers during the load, and a page that the edge of a window divides.
    assert run.requests <= lists + orders + 6
    assert run.requests == 1 + sum(window.pages_fetched for window in run.windows)


def test_the_receipt_accounts_for_every_page_and_row(ingest: Ingest, shop: ThreadedShop, lake: Lake) -> None:
    """It has pages, ids, rows per table and requests, and reads back equal."""
    run = ingest("full")
    assert list_runs(lake) == [run]
    for window in run.windows:
        assert window.pages_expected == window.pages_fetched
        assert (window.pages_failed, window.expected) == (0, window.seen)
    tables = {name: sum(file.rows for file in open_table(lake, name).files()) for name in run.appended}
    assert tables == run.appended


@pytest.mark.usefixtures("loaded")
def test_a_wrong_clock_of_the_crm_loses_nothing(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """If the Date header is an hour ahead or missing, windows move, but no order is lost."""
    for kind in ("skew", "no_date"):
        pass_time(shop, hours=5)
        add_fault(shop, kind=kind, seconds=3600, times=0)
        assert ingest("incremental").verdict == "complete"
        shop.call(lambda running: running.shop.plan.clear())
    pass_time(shop, hours=5)
    ingest("incremental")
    assert lake_orders(lake, engine) == shop_orders(shop)


@pytest.mark.usefixtures("loaded")
def test_tombstones_are_ids_and_nothing_else(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """If a person is deleted in the CRM, no tombstone has the payload."""
    edit(shop, edits.DeleteOrder(5))
    ingest("orders", request=RunRequest(kind="orders", ids=(5,)))
    rows = open_session(lake, engine, None).execute(
        "select id, grand_total, payload, is_deleted from bronze.orders where is_deleted"
    )
    assert rows.fetchall() == [(5, None, None, True)]


def test_an_order_outside_all_windows_is_found_by_its_id(
    ingest: Ingest, lake: Lake, engine: LakeSettings
) -> None:
    """The orders in all windows are compared with the number of orders that exist."""
    old = msgspec.structs.replace(SMALL, start=date(1969, 12, 28), days=10, orders_per_day=8)
    with serving(old) as shop:
        orders = shop.call(lambda running: running.world.truth()).orders
        assert any(order.created_at < "1970" for order in orders)
        short = ingest("full", shop_url=shop.url, orders_by_id=1)
        assert short.verdict == "incomplete"
        assert short.reason
        assert "to be requested one by one" in short.reason
        run = ingest("full", shop_url=shop.url)
        assert run.verdict == "complete", run.reason
        assert lake_orders(lake, engine) == shop_orders(shop)


def test_a_sweep_copies_orders_that_no_list_showed(ingest: Ingest, lake: Lake, engine: LakeSettings) -> None:
    """Behind a gap in the ids there may be an order."""
    old = msgspec.structs.replace(SMALL, start=date(1969, 12, 28), days=10, orders_per_day=8)
    with serving(old) as shop:
        ingest("full", shop_url=shop.url, orders_by_id=1)
        missing = shop_orders(shop).keys() - lake_orders(lake, engine).keys()
        assert missing
        run = ingest("sweep", shop_url=shop.url, request=SWEEP_ALL)
        assert run.verdict == "complete", run.reason
        assert lake_orders(lake, engine) == shop_orders(shop)


@pytest.mark.usefixtures("loaded")
def test_a_mistyped_id_leaves_nothing_behind(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """An unknown id makes neither a tombstone nor a million gaps below it."""
    before = versions(lake)
    with capture_logs() as events:
        ingest("orders", request=RunRequest(kind="orders", ids=(999_999_999,)))
    assert [line["ids"] for line in events if line["event"] == "ingest.no_such_orders"] == [[999_999_999]]
    assert versions(lake) == before
    assert ingest("sweep", request=SWEEP_ALL).requests < 100
    assert lake_orders(lake, engine) == shop_orders(shop)


@pytest.mark.parametrize("path", ["/buyer", "/order"])
@pytest.mark.parametrize("delta", [10**12, 2**63])
def test_an_absurd_total_ends_soon(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, path: str, delta: int
) -> None:
    """If the CRM counts 10^12 rows, the run is incomplete after a few pages."""
    add_fault(shop, kind="total", path=path, times=0, delta=delta)
    run = ingest("full")
    assert run.verdict == "incomplete"
    assert "not a page of JSON" in (run.reason or "")
    assert run.requests < 400
    assert list_runs(lake) == [run]
