"""The kinds of run: what each finds that another can't, and how a broken one goes on."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal

import msgspec
import pytest
from structlog.testing import capture_logs

from ingest.run import RunRequest
from ingest.sandbox import edits
from ingest.sandbox.command import ThreadedShop, serving
from lake.delta.table import open_table
from lake.ledgers.runs import Run, list_runs
from lake.paths import Lake
from lake.query.session import open_session
from lake.settings import LakeSettings
from tests.ingest.conftest import SMALL
from tests.support.shop_edits import break_, edit, held, live, true, versions

Ingest = Callable[..., Run]
SWEEP_ALL = RunRequest(kind="sweep")


def requests_by_path(shop: ThreadedShop) -> dict[str, int]:
    """Return how often each path was asked since the last look, and begin to count anew."""
    found = dict(shop.call(lambda running: running.shop.tally.counts()).by_path)
    shop.call(lambda running: running.shop.tally.reset())
    return found


def test_a_sweep_finds_what_updated_at_never_said(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """A status of weeks ago, changed in silence: no sync can see it, content compared does."""
    ingest("full")
    edit(
        shop, edits.SetStatus(3, 22, bump=False), edits.EditOrder(8, grand_total=Decimal("1.11"), bump=False)
    )
    ingest("incremental")
    assert held(lake, engine) != true(shop)
    run = ingest("sweep", request=SWEEP_ALL)
    assert (run.verdict, run.watermark) == ("complete", None)
    assert held(lake, engine) == true(shop)
    assert ingest("sweep", request=SWEEP_ALL).appended == {}


def test_a_sweep_of_days_looks_no_further_back(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """Thirty days by default, from the CRM's now."""
    ingest("full")
    newest = max(true(shop))
    edit(shop, edits.SetStatus(3, 22, bump=False), edits.SetStatus(newest, 22, bump=False))
    ingest("sweep", request=RunRequest(kind="sweep", days=5))
    assert held(lake, engine)[newest] == true(shop)[newest]
    assert held(lake, engine)[3] != true(shop)[3]


@pytest.mark.parametrize("kind", ["incremental", "sweep", "full", "window"])
def test_a_vanished_order_becomes_a_tombstone_after_a_404_and_comes_back(
    kind: str, ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """Seen by every kind that reads the window it was created in; asked for once, by its id."""
    now = shop.call(lambda running: running.world.now)
    span = {"since": now - timedelta(days=2), "until": now + timedelta(days=1)}
    request = msgspec.convert({"kind": kind, **span}, RunRequest)
    ingest("full")
    newest = max(true(shop))
    edit(shop, edits.DeleteOrder(newest))
    run = ingest(kind, request=request)
    assert run.verdict == "complete", run.reason
    assert newest not in held(lake, engine)
    assert held(lake, engine) == true(shop)
    before = versions(lake)
    ingest(kind, request=request)
    assert versions(lake) == before
    edit(shop, edits.RestoreOrder(newest))
    ingest(kind, request=request)
    assert held(lake, engine) == true(shop)


def test_a_list_that_loses_a_row_deletes_nothing(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """Absence in a list is a question; only the 404 is an answer."""
    ingest("full")
    break_(shop, kind="drop_row", path="/order", page=1, times=0)
    break_(shop, kind="total", path="/order", times=0, delta=-1)
    ingest("sweep", request=SWEEP_ALL)
    shop.call(lambda running: running.shop.plan.clear())
    assert held(lake, engine) == true(shop)


def test_an_outage_is_no_deletion(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """A 5xx for the id that vanished: incomplete, and the order stays until there is an answer."""
    ingest("full")
    newest = max(true(shop))
    edit(shop, edits.DeleteOrder(newest))
    break_(shop, kind="status", path=f"/order/{newest}", status=503, times=0)
    assert ingest("incremental").verdict == "incomplete"
    assert newest in held(lake, engine)
    shop.call(lambda running: running.shop.plan.clear())
    assert ingest("incremental").verdict == "complete"
    assert newest not in held(lake, engine)


def test_holes_in_the_ids_are_asked_for_once(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """A sweep explains each: an order that lists hid is taken, a 404 is remembered."""
    gone = [7, 8, 400]
    for found in gone:
        edit(shop, edits.DeleteOrder(found))
    ingest("full")
    requests_by_path(shop)
    first = ingest("sweep", request=SWEEP_ALL)
    asked = {path for path in requests_by_path(shop) if path.startswith("/order/")}
    missing = set(range(1, max(true(shop)) + 1)) - true(shop).keys()
    assert missing >= set(gone)
    assert first.verdict == "complete"
    ingest("sweep", request=SWEEP_ALL)
    again = {path for path in requests_by_path(shop) if path.startswith("/order/") and path[7:].isdigit()}
    assert asked
    assert again == set()
    edit(shop, edits.RestoreOrder(7))
    ingest("sweep", request=SWEEP_ALL)
    assert held(lake, engine) == true(shop)


def test_more_holes_than_a_run_may_ask_for_are_left_to_the_next(
    ingest: Ingest, shop: ThreadedShop, lake: Lake
) -> None:
    """Bounded work, an honest verdict, and an end."""
    for found in range(10, 20):
        edit(shop, edits.DeleteOrder(found))
    ingest("full")
    verdicts = [ingest("sweep", request=SWEEP_ALL, orders_by_id=4) for _ in range(5)]
    assert verdicts[0].verdict == "incomplete"
    assert verdicts[0].reason
    assert "the next run goes on" in verdicts[0].reason
    assert verdicts[-1].verdict == "complete"


def test_an_order_by_id_is_fetched_or_buried(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """What an operator names is asked for at once, with all its parts."""
    ingest("full")
    edit(shop, edits.EditOrder(3, grand_total=Decimal("9.99"), bump=False), edits.DeleteOrder(4))
    run = ingest("orders", request=RunRequest(kind="orders", ids=(3, 4, 3)))
    # The third asks for the list of orders: a server that has none has not lost one either.
    assert (run.verdict, run.requests) == ("complete", 3)
    assert held(lake, engine) == true(shop)


def test_a_window_reads_only_its_span(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """Silent edits of what was made in it are found, and what was changed in it however old; no others."""
    ingest("full")
    now = shop.call(lambda running: running.world.now)
    newest = max(true(shop))
    edit(shop, *(edits.SetStatus(found, 22, bump=False) for found in (newest, 3)), edits.SetStatus(4, 22))
    ingest(
        "window",
        request=RunRequest(kind="window", since=now - timedelta(days=2), until=now + timedelta(hours=1)),
    )
    assert held(lake, engine)[newest] == true(shop)[newest]
    assert held(lake, engine)[4] == true(shop)[4]
    assert held(lake, engine)[3] != true(shop)[3]


def test_a_full_load_goes_on_after_the_last_complete_window(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """The CRM breaks down in the third window; the next run asks for that one and what follows, no more."""
    break_(shop, kind="status", path="/order", page=2, nth=3, times=1000)
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
    asked = requests_by_path(shop)
    assert "/buyer" not in asked or asked["/buyer"] == 1
    assert held(lake, engine) == true(shop)
    assert ingest("full", orders_per_window=200).appended == {}


def test_a_finished_load_is_not_continued(ingest: Ingest, shop: ThreadedShop, lake: Lake) -> None:
    """A full run after a complete one begins at the beginning: that is what it is for."""
    first, second = ingest("full"), ingest("full")
    windows = [[window for window in run.windows if window.by == "created"] for run in (first, second)]
    assert [window.since for window in windows[0]] == [window.since for window in windows[1]]


def test_lists_have_a_cadence(ingest: Ingest, shop: ThreadedShop, lake: Lake) -> None:
    """Products and offers by the hour, references each time, unless set otherwise."""
    ingest("full")
    requests_by_path(shop)
    ingest("incremental", every_minutes={})
    asked = requests_by_path(shop)
    assert not {"/products", "/offers"} & asked.keys()
    assert {
        "/products/categories",
        "/users",
        "/order/status",
        "/order/source",
        "/order/expense-type",
    } <= asked.keys()
    ingest("incremental", every_minutes={"products": 0, "managers": 60})
    asked = requests_by_path(shop)
    assert {"/products", "/order/status"} <= asked.keys()
    assert not {"/offers", "/users"} & asked.keys()


def test_pages_that_drift_while_they_are_walked_lose_nothing(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """The CRM counts another total in the middle of a walk: the window is walked again, or halved."""
    break_(shop, kind="total", path="/order", page=2, times=3, delta=1)
    run = ingest("full")
    assert run.verdict == "complete", run.reason
    assert held(lake, engine) == true(shop)


def test_a_total_that_never_agrees_is_incomplete(ingest: Ingest, shop: ThreadedShop, lake: Lake) -> None:
    """Walked again, halved, and then said: so many arrived, so many were counted."""
    break_(shop, kind="total", path="/order", times=0, delta=1)
    run = ingest("full")
    assert run.verdict == "incomplete"
    assert any("distinct ids arrived, the CRM counted" in (window.reason or "") for window in run.windows)


def test_a_full_load_needs_hardly_more_requests_than_pages(
    ingest: Ingest, shop: ThreadedShop, lake: Lake
) -> None:
    """Every include in one pass, nothing fetched twice; half-full last pages are all there is to lose."""
    run = ingest("full", orders_per_window=5000)
    lists = sum(-(-window.seen // 50) for window in run.windows if window.entity != "orders")
    orders = -(-len(true(shop)) // 50)
    # The first order, asked for at both ends, the tail after now, orders and buyers of meanwhile, a page cut
    # in two by the window's edge: six requests at any size.
    assert run.requests <= lists + orders + 6
    assert run.requests == 1 + sum(window.pages_fetched for window in run.windows)


def test_the_receipt_accounts_for_every_page_and_row(ingest: Ingest, shop: ThreadedShop, lake: Lake) -> None:
    """Expected, fetched, failed; ids; rows per table; requests; and it reads back as it was written."""
    run = ingest("full")
    assert list_runs(lake) == [run]
    for window in run.windows:
        assert window.pages_expected == window.pages_fetched
        assert (window.pages_failed, window.expected) == (0, window.seen)
    tables = {name: sum(file.rows for file in open_table(lake, name).files()) for name in run.appended}
    assert tables == run.appended


def test_a_clock_far_off_is_the_crms_own_business(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """A Date header an hour ahead or missing moves windows, and loses nothing in the end."""
    ingest("full")
    for kind in ("skew", "no_date"):
        live(shop, hours=5)
        break_(shop, kind=kind, seconds=3600, times=0)
        assert ingest("incremental").verdict == "complete"
        shop.call(lambda running: running.shop.plan.clear())
    live(shop, hours=5)
    ingest("incremental")
    assert held(lake, engine) == true(shop)


def test_tombstones_are_ids_and_nothing_else(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """No payload of somebody who asked to be forgotten lives on in one."""
    ingest("full")
    edit(shop, edits.DeleteOrder(5))
    ingest("orders", request=RunRequest(kind="orders", ids=(5,)))
    rows = open_session(lake, engine, None).execute(
        "select id, grand_total, payload, is_deleted from bronze.orders where is_deleted"
    )
    assert rows.fetchall() == [(5, None, None, True)]


def test_an_order_that_no_window_can_reach_is_found_by_its_id(
    ingest: Ingest, lake: Lake, engine: LakeSettings
) -> None:
    """The sum of the windows is held against the number of orders there are: 1,616 were missed elsewhere."""
    old = msgspec.structs.replace(SMALL, start=date(1969, 12, 28), days=10, orders_per_day=8)
    with serving(old) as shop:
        orders = shop.call(lambda running: running.world.truth()).orders
        assert any(order.created_at < "1970" for order in orders)
        short = ingest("full", shop_url=shop.url, orders_by_id=1)
        assert short.verdict == "incomplete"
        assert short.reason
        assert "to be asked for one by one" in short.reason
        run = ingest("full", shop_url=shop.url)
        assert run.verdict == "complete", run.reason
        assert held(lake, engine) == true(shop)


def test_a_sweep_takes_what_no_list_ever_showed(ingest: Ingest, lake: Lake, engine: LakeSettings) -> None:
    """A hole in the ids behind which there is an order after all."""
    old = msgspec.structs.replace(SMALL, start=date(1969, 12, 28), days=10, orders_per_day=8)
    with serving(old) as shop:
        ingest("full", shop_url=shop.url, orders_by_id=1)
        missing = true(shop).keys() - held(lake, engine).keys()
        assert missing
        run = ingest("sweep", shop_url=shop.url, request=SWEEP_ALL)
        assert run.verdict == "complete", run.reason
        assert held(lake, engine) == true(shop)


def test_a_mistyped_id_leaves_nothing_behind(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """Neither a tombstone nor a million holes below it; of what the lake holds, a 404 is an answer."""
    ingest("full")
    before = versions(lake)
    with capture_logs() as said:
        ingest("orders", request=RunRequest(kind="orders", ids=(999_999_999,)))
    assert [line["ids"] for line in said if line["event"] == "ingest.no_such_orders"] == [[999_999_999]]
    assert versions(lake) == before
    assert ingest("sweep", request=SWEEP_ALL).requests < 100
    assert held(lake, engine) == true(shop)


@pytest.mark.parametrize("path", ["/buyer", "/order"])
@pytest.mark.parametrize("delta", [10**12, 2**63])
def test_an_absurd_total_ends_soon(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, path: str, delta: int
) -> None:
    """A CRM that counts a million million rows is incomplete after a few pages, not after all memory."""
    break_(shop, kind="total", path=path, times=0, delta=delta)
    run = ingest("full")
    assert run.verdict == "incomplete"
    assert "no page of JSON" in (run.reason or "")
    assert run.requests < 400
    assert list_runs(lake) == [run]
