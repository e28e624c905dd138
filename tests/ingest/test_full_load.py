"""What "complete" claims: nothing is missing, also after a load was broken, also where the CRM is odd."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest

from ingest.fetching import First, Reading
from ingest.run import RunRequest
from ingest.sandbox import edits
from ingest.sandbox.command import ThreadedShop, serving
from ingest.windows import Window, split
from lake.delta.table import open_table
from lake.ledgers.runs import Run
from lake.maintenance.compaction import compact
from lake.paths import Lake
from lake.query.session import open_session
from lake.releases.release import Release, publish
from lake.settings import LakeSettings
from tests.ingest.conftest import SMALL
from tests.support.shop_edits import break_, edit, held, live, true

Ingest = Callable[..., Run]
SWEEP_ALL = RunRequest(kind="sweep")
# Orders created before 1970 lie in no window of time that anybody asks for.
OLD = msgspec.structs.replace(SMALL, start=date(1969, 12, 30), days=30, orders_per_day=8)


def mend(shop: ThreadedShop) -> None:
    """Let the CRM answer as it should again."""
    shop.call(lambda running: running.shop.plan.clear())


def asked_by_id(shop: ThreadedShop) -> set[int]:
    """Return the orders asked for by id since the last look."""
    paths = dict(shop.call(lambda running: running.shop.tally.counts()).by_path)
    shop.call(lambda running: running.shop.tally.reset())
    ids = [path.removeprefix("/order/") for path in paths if path.startswith("/order/")]
    return {int(found) for found in ids if found.isdigit()}


def test_unreachable_orders_are_found_over_several_loads(
    ingest: Ingest, lake: Lake, engine: LakeSettings
) -> None:
    """A few by id in each run; only the run that has all of them says so, the next has nothing to find."""
    with serving(OLD) as shop:
        verdicts: list[str] = []
        while "complete" not in verdicts[-1:]:
            verdicts.append(ingest("full", shop_url=shop.url, orders_by_id=5).verdict)
            live(shop, seconds=5)
            is_all = held(lake, engine).keys() == true(shop).keys()
            assert is_all == (verdicts[-1] == "complete")
        assert len(verdicts) > 2
        asked_by_id(shop)
        assert ingest("full", shop_url=shop.url, orders_by_id=5).verdict == "complete"
        assert asked_by_id(shop) == set()


def test_orders_that_come_during_the_load_hide_none(
    ingest: Ingest, lake: Lake, engine: LakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many new ones as there are unreachable ones: the count is of the ids that there were."""
    from ingest import run_kinds as kinds

    first_order = kinds.first_order
    with serving(OLD) as shop:

        async def meanwhile(reading: Reading) -> First | None:
            found = await first_order(reading)
            live(shop, days=6)
            return found

        monkeypatch.setattr(kinds, "first_order", meanwhile)
        assert ingest("full", shop_url=shop.url).verdict == "complete"
        assert held(lake, engine) == true(shop)


def test_a_load_that_is_over_is_not_continued(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """Also one whose last run had nothing left to read: the next load reads everything again."""
    break_(shop, kind="status", path="/order", status=503, nth=21, times=0)
    assert ingest("full").verdict == "incomplete"
    mend(shop)
    assert ingest("full").verdict == "complete"
    edit(shop, edits.SetStatus(3, 22, bump=False))
    assert ingest("full").verdict == "complete"
    assert held(lake, engine) == true(shop)


@pytest.mark.parametrize("by_id", [500, 4])
def test_a_load_answers_for_every_order_that_vanished(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings, by_id: int
) -> None:
    """A window is done when what it did not show was asked for; an outage or a bound puts it off, no more."""
    ingest("full")
    live(shop, seconds=5)
    edit(shop, *(edits.DeleteOrder(found) for found in range(100, 110)))
    break_(shop, kind="status", path="/order/101", status=503, times=0)
    assert ingest("full", orders_by_id=by_id).verdict == "incomplete"
    mend(shop)
    for _ in range(3):
        live(shop, seconds=5)
        run = ingest("full", orders_by_id=by_id)
        assert (run.verdict == "complete") == (held(lake, engine).keys() == true(shop).keys())
        if run.verdict == "complete":
            break
    assert run.verdict == "complete"


def test_a_refused_order_is_no_hole(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """It is known and can't be typed: sweeps do not ask for it by id again and again."""
    edit(shop, edits.DeleteOrder(10))
    break_(shop, kind="wrong_type", path="/order", page=5, times=0, field="grand_total", row=-1)
    ingest("full")
    run = ingest("sweep", request=SWEEP_ALL, orders_by_id=5)
    orders = shop.call(lambda running: running.world.truth()).orders
    assert (run.verdict, asked_by_id(shop)) == (
        "complete",
        {order.id for order in orders if order.is_deleted},
    )
    ingest("sweep", request=SWEEP_ALL, orders_by_id=5)
    assert asked_by_id(shop) == set()
    assert run.rejected > 0


def counted(run: Run) -> tuple[int | None, int | None]:
    """Return how many orders a full load found counted by the CRM, and held."""
    (receipt,) = [window for window in run.windows if window.by == "count"]
    return receipt.expected, receipt.seen


def test_a_refused_order_that_is_gone_stands_for_no_other(
    ingest: Ingest, shop: ThreadedShop, lake: Lake
) -> None:
    """It counts as long as the CRM has it; after that it would hide one that is missing."""
    break_(shop, kind="wrong_type", path="/order", page=2, times=0, field="grand_total", row=3)
    first = ingest("full")
    refused = set(open_table(lake, "bronze.rejected").read(["id"])["id"].to_pylist())
    assert refused
    assert counted(first) == (len(true(shop)), len(true(shop)))
    mend(shop)
    edit(shop, *(edits.DeleteOrder(found) for found in refused))
    run = ingest("full")
    assert run.verdict == "complete", run.reason
    assert counted(run) == (len(true(shop)), len(true(shop)))


def test_a_refused_object_is_counted_once_a_run(ingest: Ingest, shop: ThreadedShop) -> None:
    """However often a drifting window had to be walked."""
    break_(shop, kind="wrong_type", path="/order", page=2, times=0, field="grand_total", row=3)
    break_(shop, kind="total", path="/order", times=1, delta=1)
    assert ingest("full").rejected < 10


def test_an_amount_beyond_all_reckoning_stops_nobody(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """1E+1000000 is refused like any other amount that is none."""
    break_(shop, kind="wrong_type", path="/order", page=1, times=0, field="taxes", row=3, value="1E+1000000")
    run = ingest("full")
    assert (run.verdict, run.rejected > 0) == ("complete", True)
    assert len(held(lake, engine)) > len(true(shop)) / 2


def test_a_quiet_hour_leaves_the_watermark_where_the_load_began(
    ingest: Ingest, shop: ThreadedShop, lake: Lake
) -> None:
    """A broken load is continued when no order changes: the next sync must not ask since 1970."""
    live(shop, hours=1)
    now = shop.call(lambda running: running.world.now)
    break_(shop, kind="status", path="/buyer", status=503, nth=10, times=0)
    assert ingest("full").verdict == "incomplete"
    mend(shop)
    run = ingest("full")
    assert run.verdict == "complete"
    assert run.watermark
    assert now - timedelta(days=1) < run.watermark <= now


def test_a_window_is_halved_where_its_rows_are() -> None:
    """It begins before any shop: halves of the epoch would leave all rows in one of them."""
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
    """The lake is small enough for one window: three halvings still leave eight parts of a like size."""
    break_(shop, kind="total", path="/order", times=0, delta=1)
    run = ingest("full", orders_per_window=5000)
    parts = [window.seen for window in run.windows if window.entity == "orders" and window.by == "created"]
    assert run.verdict == "incomplete"
    assert max(parts) < len(true(shop)) / 4


def test_what_arrived_is_kept_when_the_question_after_fails(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """Whether the CRM has a list of orders at all is asked before a burial; rows are kept before that."""
    ingest("full")
    edit(shop, edits.DeleteOrder(4), edits.EditOrder(3, grand_total=Decimal("9.99"), bump=False))
    break_(shop, kind="status", path="/order", status=503, times=0)
    run = ingest("orders", request=RunRequest(kind="orders", ids=(3, 4)))
    assert run.verdict == "incomplete"
    assert held(lake, engine)[3][0] == Decimal("9.99")
    assert 4 in held(lake, engine)


@pytest.mark.parametrize("kind", ["full", "sweep"])
def test_a_shop_without_any_order_is_not_believed(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings, kind: str
) -> None:
    """An answer without rows, and a total of none: all that was sold is not gone because of it."""
    ingest("full")
    live(shop, seconds=5)
    break_(shop, kind="empty_page", path="/order", times=0)
    break_(shop, kind="total", path="/order", times=0, delta=-len(true(shop)))
    run = ingest(kind)
    assert run.verdict == "incomplete"
    assert run.reason
    assert "no order at all" in run.reason
    assert len(held(lake, engine)) == len(true(shop))


def test_a_vanished_order_leaves_and_comes_back(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """The tombstone is one look among others: a later one that shows the order again wins."""
    ingest("full")
    edit(shop, edits.DeleteOrder(30))
    ingest("sweep", request=SWEEP_ALL)
    assert 30 not in held(lake, engine)
    edit(shop, edits.RestoreOrder(30))
    ingest("sweep", request=SWEEP_ALL)
    assert held(lake, engine) == true(shop)


def test_a_compaction_beside_a_run_doubles_nothing(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """The gate sees the same rows in other files, and knows them."""
    ingest("full")
    ingest("sweep", request=SWEEP_ALL)
    compact(lake, now=datetime.now(UTC) + timedelta(days=2))
    run = ingest("sweep", request=SWEEP_ALL)
    assert (run.verdict, run.appended) == ("complete", {})


def test_a_silent_edit_of_a_recent_order_is_seen_by_the_next_sync(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """Orders created in the last two days are asked for whatever their updated_at says."""
    ingest("full")
    newest = max(true(shop))
    edit(shop, edits.EditOrder(newest, grand_total=Decimal("5.55"), bump=False))
    ingest("incremental")
    assert held(lake, engine)[newest][0] == Decimal("5.55")


def test_every_list_is_as_the_shop_has_it(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """Not orders alone: buyers, the catalogue, reference lists, and expenses by their amounts."""
    ingest("full")
    live(shop, days=2)
    ingest("incremental")
    truth = shop.call(lambda running: running.world.truth())
    session = open_session(lake, engine, None)

    def ids(table: str) -> set[int]:
        rows = session.execute(
            f"select id from bronze.{table} qualify row_number() over"
            " (partition by id order by fetched_at desc) = 1 and not is_deleted"
        )
        return {found for (found,) in rows.fetchall()}

    for table in ("products", "categories", "managers", "sources", "expense_types"):
        assert ids(table) == {one.id for one in getattr(truth, table)}, table
    assert ids("buyers") >= {buyer.id for buyer in truth.buyers}  # merged away cards are history
    assert ids("statuses") <= {status.id for status in truth.statuses}  # the CRM lists active ones only
    held_expenses = session.execute(
        "select e.id, e.order_id, e.amount from bronze.expenses as e join"
        " (from bronze.orders qualify row_number() over (partition by id order by fetched_at desc) = 1) as o"
        " on o.id = e.order_id and o.fetched_at = e.fetched_at where not o.is_deleted"
    ).fetchall()
    assert {(found, owner, Decimal(amount)) for found, owner, amount in held_expenses} == {
        (expense.id, order.id, Decimal(expense.amount))
        for order in truth.orders
        if not order.is_deleted
        for expense in order.expenses
    }


def test_what_an_excluded_run_brought_is_seen_again(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """Builds leave it out, so it is not held: the next sync asks for its span again, and appends it."""
    ingest("full")
    live(shop, seconds=5)
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
