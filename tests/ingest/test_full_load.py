"""Full load: "complete" means that nothing is missing, also after a broken load and with an odd CRM."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest

from ingest.__main__ import summary
from ingest.fetching import Fetcher, FirstOrder
from ingest.run import RunRequest
from ingest.sandbox import edits
from ingest.sandbox.command import ThreadedShop, serving
from ingest.windows import Window, split
from lake.delta.tables import open_table
from lake.ledgers.runs import Run
from lake.maintenance.compaction import compact
from lake.paths import Lake
from lake.query.session import open_session
from lake.releases.release import Release, publish
from lake.settings import LakeSettings
from tests.ingest.conftest import SMALL
from tests.support.shop_edits import add_fault, edit, lake_orders, pass_time, shop_orders

pytestmark = pytest.mark.slow

Ingest = Callable[..., Run]
SWEEP_ALL = RunRequest(kind="sweep")
# Orders created before 1970 lie in no window of time.
OLD = msgspec.structs.replace(SMALL, start=date(1969, 12, 30), days=30, orders_per_day=8)


def clear_faults(shop: ThreadedShop) -> None:
    """Let the CRM answer without faults again."""
    shop.call(lambda running: running.shop.plan.clear())


def requested_ids(shop: ThreadedShop) -> set[int]:
    """Return the orders requested by id since the last call."""
    paths = dict(shop.call(lambda running: running.shop.tally.counts()).by_path)
    shop.call(lambda running: running.shop.tally.reset())
    ids = [path.removeprefix("/order/") for path in paths if path.startswith("/order/")]
    return {int(number) for number in ids if number.isdigit()}


def test_orders_outside_all_windows_are_found_over_several_loads(
    ingest: Ingest, lake: Lake, engine: LakeSettings
) -> None:
    """Each run requests a few by id, and only the run that has all of them is complete."""
    with serving(OLD) as shop:
        verdicts: list[str] = []
        while "complete" not in verdicts[-1:]:
            verdicts.append(ingest("full", shop_url=shop.url, orders_by_id=5).verdict)
            pass_time(shop, seconds=5)
            is_all = lake_orders(lake, engine).keys() == shop_orders(shop).keys()
            assert is_all == (verdicts[-1] == "complete")
        assert len(verdicts) > 2
        requested_ids(shop)
        assert ingest("full", shop_url=shop.url, orders_by_id=5).verdict == "complete"
        assert requested_ids(shop) == set()


def test_new_orders_do_not_hide_missing_ones(
    ingest: Ingest, lake: Lake, engine: LakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If as many orders are new as are unreachable, the count is still of the ids that existed before."""
    from ingest import run_kinds as kinds

    fetch_first_order = kinds.fetch_first_order
    with serving(OLD) as shop:

        async def with_new_orders(fetcher: Fetcher) -> FirstOrder | None:
            first = await fetch_first_order(fetcher)
            pass_time(shop, days=6)
            return first

        monkeypatch.setattr(kinds, "fetch_first_order", with_new_orders)
        assert ingest("full", shop_url=shop.url).verdict == "complete"
        assert lake_orders(lake, engine) == shop_orders(shop)


def test_a_finished_load_is_not_continued(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """The next load reads everything again, even if the last run of the load had nothing left to read."""
    add_fault(shop, kind="status", path="/order", status=503, nth=21, times=0)
    assert ingest("full").verdict == "incomplete"
    clear_faults(shop)
    assert ingest("full").verdict == "complete"
    edit(shop, edits.SetStatus(3, 22, bump=False))
    assert ingest("full").verdict == "complete"
    assert lake_orders(lake, engine) == shop_orders(shop)


def test_a_continued_load_has_later_edits_or_states_which_it_lacks(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """Lists are read again, and orders whose updated_at moved; the receipt names the command for the rest."""
    add_fault(shop, kind="status", path="/order", status=503, nth=21, times=0)
    broken = ingest("full")
    assert broken.verdict == "incomplete"
    clear_faults(shop)
    pass_time(shop, seconds=5)
    (product, *_) = open_table(lake, "bronze.products").read(["id"])["id"].to_pylist()
    edit(shop, edits.EditProduct(product, price=Decimal("77.50")))
    edit(shop, edits.SetStatus(2, 22), edits.SetStatus(3, 22, bump=False))
    run = ingest("full")
    assert run.verdict == "complete"
    assert run.appended["bronze.products"] == 1
    orders, truth = lake_orders(lake, engine), shop_orders(shop)
    assert {number for number in truth if orders[number] != truth[number]} == {3}
    assert run.reason
    assert "`just ingest sweep --all`" in run.reason
    assert "; it continued the load of " in summary(run)
    ingest("sweep", request=SWEEP_ALL)
    assert lake_orders(lake, engine) == truth


@pytest.mark.parametrize("by_id", [500, 4])
@pytest.mark.usefixtures("loaded")
def test_a_load_requests_every_order_that_vanished(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings, by_id: int
) -> None:
    """A window is complete once the orders it did not list were requested; an outage or a limit delays it."""
    pass_time(shop, seconds=5)
    edit(shop, *(edits.DeleteOrder(number) for number in range(100, 110)))
    add_fault(shop, kind="status", path="/order/101", status=503, times=0)
    assert ingest("full", orders_by_id=by_id).verdict == "incomplete"
    clear_faults(shop)
    for _ in range(3):
        pass_time(shop, seconds=5)
        run = ingest("full", orders_by_id=by_id)
        assert (run.verdict == "complete") == (lake_orders(lake, engine).keys() == shop_orders(shop).keys())
        if run.verdict == "complete":
            break
    assert run.verdict == "complete"


def test_a_rejected_order_is_no_gap(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """A rejected order is known, so sweeps do not request it by id again and again."""
    edit(shop, edits.DeleteOrder(10))
    add_fault(shop, kind="wrong_type", path="/order", page=5, times=0, field="grand_total", row=-1)
    ingest("full")
    run = ingest("sweep", request=SWEEP_ALL, orders_by_id=5)
    orders = shop.call(lambda running: running.world.truth()).orders
    assert (run.verdict, requested_ids(shop)) == (
        "complete",
        {order.id for order in orders if order.is_deleted},
    )
    ingest("sweep", request=SWEEP_ALL, orders_by_id=5)
    assert requested_ids(shop) == set()
    assert run.rejected > 0


def order_counts(run: Run) -> tuple[int | None, int | None]:
    """Return the CRM's number of orders in a full load, and the lake's."""
    (receipt,) = [window for window in run.windows if window.by == "count"]
    return receipt.expected, receipt.seen


def test_a_rejected_order_that_was_deleted_is_not_counted(
    ingest: Ingest, shop: ThreadedShop, lake: Lake
) -> None:
    """If it still counted after the CRM deleted it, it would hide a missing order."""
    add_fault(shop, kind="wrong_type", path="/order", page=2, times=0, field="grand_total", row=3)
    first = ingest("full")
    refused = set(open_table(lake, "bronze.rejected").read(["id"])["id"].to_pylist())
    assert refused
    assert order_counts(first) == (len(shop_orders(shop)), len(shop_orders(shop)))
    clear_faults(shop)
    edit(shop, *(edits.DeleteOrder(number) for number in refused))
    run = ingest("full")
    assert run.verdict == "complete", run.reason
    assert order_counts(run) == (len(shop_orders(shop)), len(shop_orders(shop)))


@pytest.mark.parametrize("value", [2**63, "soon", {"unexpected": True}])
def test_an_order_without_a_readable_id_leaves_a_load_complete(
    ingest: Ingest, shop: ThreadedShop, value: object
) -> None:
    """The CRM counts it, the lake has it as refused, and nothing else is missing."""
    add_fault(shop, kind="wrong_type", path="/order", page=1, times=0, field="id", row=0, value=value)
    run = ingest("full", orders_per_window=5000)
    assert (run.verdict, run.rejected > 0) == ("complete", True), run.reason


def test_a_rejected_object_is_counted_once_a_run(ingest: Ingest, shop: ThreadedShop) -> None:
    """The count is the same if a window was read several times."""
    add_fault(shop, kind="wrong_type", path="/order", page=2, times=0, field="grand_total", row=3)
    add_fault(shop, kind="total", path="/order", times=1, delta=1)
    assert ingest("full").rejected < 10


def test_an_absurd_amount_rejects_only_its_order(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """1E+1000000 is rejected like any other number that is no amount."""
    add_fault(
        shop,
        kind="wrong_type",
        path="/order",
        page=1,
        times=0,
        field="grand_total",
        row=3,
        value="1E+1000000",
    )
    run = ingest("full")
    assert (run.verdict, run.rejected > 0) == ("complete", True)
    assert len(lake_orders(lake, engine)) > len(shop_orders(shop)) / 2


def test_a_quiet_hour_leaves_the_watermark_where_the_load_began(
    ingest: Ingest, shop: ThreadedShop, lake: Lake
) -> None:
    """If no order changes while a broken load is continued, the next sync must not start at 1970."""
    pass_time(shop, hours=1)
    now = shop.call(lambda running: running.world.now)
    add_fault(shop, kind="status", path="/buyer", status=503, nth=10, times=0)
    assert ingest("full").verdict == "incomplete"
    clear_faults(shop)
    run = ingest("full")
    assert run.verdict == "complete"
    assert run.watermark
    assert now - timedelta(days=1) < run.watermark <= now


def test_a_window_is_halved_where_its_rows_are() -> None:
    """If a window that begins in 1970 were halved by time, one half would have all rows."""
    stamps = [datetime(2026, 9, 1, tzinfo=UTC) + timedelta(hours=place) for place in range(101)]
    whole = Window("created", datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC))
    halves = split(whole, stamps)
    assert halves
    older, newer = halves
    assert (older.since, newer.until) == (whole.since, whole.until)
    assert older.until == stamps[50]
    assert newer.since == stamps[50] + timedelta(seconds=1)


def test_halving_counts_what_drifts(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """The shop fits into one window; three halvings leave eight parts of similar size."""
    add_fault(shop, kind="total", path="/order", times=0, delta=1)
    run = ingest("full", orders_per_window=5000)
    parts = [window.seen for window in run.windows if window.entity == "orders" and window.by == "created"]
    assert run.verdict == "incomplete"
    assert max(parts) < len(shop_orders(shop)) / 4


@pytest.mark.usefixtures("loaded")
def test_rows_are_kept_if_the_request_before_a_tombstone_fails(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """Before a tombstone, the list of orders is requested; rows that arrived are committed before that."""
    edit(shop, edits.DeleteOrder(4), edits.EditOrder(3, grand_total=Decimal("9.99"), bump=False))
    add_fault(shop, kind="status", path="/order", status=503, times=0)
    run = ingest("orders", request=RunRequest(kind="orders", ids=(3, 4)))
    assert run.verdict == "incomplete"
    assert lake_orders(lake, engine)[3][0] == Decimal("9.99")
    assert 4 in lake_orders(lake, engine)


@pytest.mark.parametrize("kind", ["full", "sweep"])
@pytest.mark.usefixtures("loaded")
def test_an_empty_order_list_deletes_nothing(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings, kind: str
) -> None:
    """If the CRM answers with no rows and a total of 0, the lake keeps all orders."""
    pass_time(shop, seconds=5)
    add_fault(shop, kind="empty_page", path="/order", times=0)
    add_fault(shop, kind="total", path="/order", times=0, delta=-len(shop_orders(shop)))
    run = ingest(kind)
    assert run.verdict == "incomplete"
    assert run.reason
    assert "no order at all" in run.reason
    assert len(lake_orders(lake, engine)) == len(shop_orders(shop))


@pytest.mark.usefixtures("loaded")
def test_a_vanished_order_leaves_and_comes_back(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """A tombstone is one observation among others: a later one that shows the order wins."""
    edit(shop, edits.DeleteOrder(30))
    ingest("sweep", request=SWEEP_ALL)
    assert 30 not in lake_orders(lake, engine)
    edit(shop, edits.RestoreOrder(30))
    ingest("sweep", request=SWEEP_ALL)
    assert lake_orders(lake, engine) == shop_orders(shop)


@pytest.mark.usefixtures("loaded")
def test_a_compaction_doubles_nothing(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """The deduplicator recognises the same rows in compacted files."""
    ingest("sweep", request=SWEEP_ALL)
    compact(lake, now=datetime.now(UTC) + timedelta(days=2))
    run = ingest("sweep", request=SWEEP_ALL)
    assert (run.verdict, run.appended) == ("complete", {})


@pytest.mark.usefixtures("loaded")
def test_a_silent_edit_of_a_recent_order_is_seen_by_the_next_sync(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """Orders created in the last two days are read whatever their updated_at is."""
    newest = max(shop_orders(shop))
    edit(shop, edits.EditOrder(newest, grand_total=Decimal("5.55"), bump=False))
    ingest("incremental")
    assert lake_orders(lake, engine)[newest][0] == Decimal("5.55")


@pytest.mark.usefixtures("loaded")
def test_every_list_is_as_the_shop_has_it(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """Buyers, the catalogue, reference lists and the amounts of expenses are copied as well."""
    pass_time(shop, days=2)
    ingest("incremental")
    truth = shop.call(lambda running: running.world.truth())
    session = open_session(lake, engine, None)

    def ids(table: str) -> set[int]:
        rows = session.execute(
            f"select id from bronze.{table} qualify row_number() over"
            " (partition by id order by fetched_at desc) = 1 and not is_deleted"
        )
        return {number for (number,) in rows.fetchall()}

    for table in ("products", "categories", "managers", "sources", "expense_types"):
        assert ids(table) == {row.id for row in getattr(truth, table)}, table
    assert ids("buyers") >= {buyer.id for buyer in truth.buyers}  # merged cards stay as history
    assert ids("statuses") <= {status.id for status in truth.statuses}  # the CRM lists active ones only
    held_expenses = session.execute(
        "select e.id, e.order_id, e.amount from bronze.expenses as e join"
        " (from bronze.orders qualify row_number() over (partition by id order by fetched_at desc) = 1) as o"
        " on o.id = e.order_id and o.fetched_at = e.fetched_at where not o.is_deleted"
    ).fetchall()
    assert {(number, owner, Decimal(amount)) for number, owner, amount in held_expenses} == {
        (expense.id, order.id, Decimal(expense.amount))
        for order in truth.orders
        if not order.is_deleted
        for expense in order.expenses
    }


@pytest.mark.usefixtures("loaded")
def test_rows_of_an_excluded_run_are_appended_again(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """Builds leave out the run, so the next sync reads its span again and appends its rows."""
    pass_time(shop, seconds=5)
    edit(shop, edits.EditOrder(3, grand_total=Decimal("7.77")))
    bad = ingest("incremental")
    assert bad.appended["bronze.orders"] > 0
    assert ingest("incremental").appended.get("bronze.orders", 0) == 0
    first = Release(
        release=1,
        published_at=datetime.now(UTC),
        kind="full",
        parent=None,
        tables={},
        consumed={},
        excluded_runs=(bad.run_id,),
    )
    publish(lake, first)
    assert ingest("incremental").appended["bronze.orders"] == bad.appended["bronze.orders"]
    rows = open_session(lake, engine, None).execute(
        "select arg_max(grand_total, fetched_at) from bronze.orders"
        f" where id = 3 and run_id <> '{bad.run_id}'"
    )
    assert rows.fetchall() == [(Decimal("7.77"),)]
