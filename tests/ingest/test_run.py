"""A run against a shop that changes, misbehaves and breaks."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from ingest.sandbox import edits
from ingest.sandbox.command import ThreadedShop, serving
from lake.delta.tables import open_table
from lake.errors import KeyRefused
from lake.ledgers.runs import Run, last_runs
from lake.paths import Lake
from lake.query.session import open_session
from lake.settings import LakeSettings
from tests.ingest.conftest import SMALL
from tests.support.running import environ_of, launched
from tests.support.shop_edits import add_fault, edit, lake_orders, pass_time, shop_orders, versions

pytestmark = pytest.mark.slow

Ingest = Callable[..., Run]


def test_full_copies_every_order_with_its_lines(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """The lake has the orders from the first to the last, and all thirteen bronze tables exist."""
    run = ingest("full")
    assert (run.verdict, run.reason, run.rejected) == ("complete", None, 0)
    assert lake_orders(lake, engine) == shop_orders(shop)
    assert run.appended["bronze.orders"] == len(shop_orders(shop))
    assert set(lake.tables("bronze")) == {
        f"bronze.{name}"
        for name in [
            "orders",
            "order_products",
            "expenses",
            "products",
            "categories",
            "buyers",
            "expense_types",
            "managers",
            "sources",
            "statuses",
            "offers",
            "rejected",
            "odd_fields",
        ]
    }


def test_a_second_run_writes_only_its_receipt(ingest: Ingest, lake: Lake) -> None:
    """If nothing has changed, neither a full run nor an incremental one makes a new version of a table."""
    first = ingest("full")
    before = versions(lake)
    again, change = ingest("full"), ingest("incremental")
    assert versions(lake) == before
    assert (again.appended, change.appended) == ({}, {})
    assert first.watermark
    assert again.watermark
    assert change.watermark
    assert first.watermark <= again.watermark <= change.watermark
    assert open_table(lake, "ops.runs").version == 3


@pytest.mark.usefixtures("loaded")
def test_incremental_appends_changes_and_nothing_else(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """A new status, other lines, a new order and an old order that changed are appended."""
    edit(shop, edits.SetStatus(3, 22), edits.EditOrder(7, grand_total=Decimal("77.77")))
    new = shop.call(
        lambda running: edits.apply(
            running.world, edits.AddOrder(lines=(edits.NewLine(price=Decimal("12.50")),), manager_id=22)
        )
    )
    run = ingest("incremental")
    assert run.kind == "incremental"
    assert lake_orders(lake, engine) == shop_orders(shop)
    assert new in lake_orders(lake, engine)
    assert run.appended["bronze.orders"] == 3


@pytest.mark.usefixtures("loaded")
def test_incremental_follows_a_living_shop(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """Runs over ten days in uneven steps give the same orders as the shop has at the end."""
    for hours in (1, 30, 0.1, 49, 160):
        pass_time(shop, hours=hours)
        assert ingest("incremental").verdict == "complete"
    deleted = {
        order.id for order in shop.call(lambda running: running.world.truth()).orders if order.is_deleted
    }
    orders = {key: row for key, row in lake_orders(lake, engine).items() if key not in deleted}
    assert orders == shop_orders(shop)


def test_an_incremental_without_history_reads_all_of_it(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """If the lake is empty, an incremental run becomes a full one."""
    assert ingest("incremental").kind == "full"
    assert lake_orders(lake, engine) == shop_orders(shop)


def test_a_failed_page_makes_the_run_incomplete_and_keeps_the_rest(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """The watermark does not move, and the next run copies everything."""
    before = ingest("full")
    pass_time(shop, days=9)
    add_fault(shop, kind="status", path="/order", page=2, times=1000)
    run = ingest("incremental")
    assert (run.verdict, run.watermark) == ("incomplete", None)
    assert run.reason
    assert "gave up after 3 tries" in run.reason
    assert run.appended["bronze.orders"] > 0
    last, complete = last_runs(lake)
    assert last
    assert complete
    assert (last.run_id, complete.run_id) == (run.run_id, before.run_id)
    shop.call(lambda running: running.shop.plan.clear())
    assert ingest("incremental").verdict == "complete"
    assert lake_orders(lake, engine).items() >= shop_orders(shop).items()


@pytest.mark.parametrize(
    "kind",
    ["status", "refuse", "reset", "cut", "truncated", "invalid_json", "html", "repeat_page", "empty_page"],
)
def test_a_short_outage_is_outlasted(
    kind: str, ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """If two requests fail, nothing is lost or doubled, and the receipt counts the retries."""
    add_fault(shop, kind=kind, path="/order", page=2, times=2)
    run = ingest("full")
    assert run.verdict == "complete", run.reason
    assert lake_orders(lake, engine) == shop_orders(shop)
    assert run.appended["bronze.orders"] == len(shop_orders(shop))
    assert run.requests == shop.call(lambda running: running.shop.tally.counts()).requests


@pytest.mark.parametrize("kind", ["duplicate_rows", "extra", "emoji", "nul", "long"])
def test_odd_but_valid_orders_are_stored(
    kind: str, ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """If one answer has an order twice, it is one observation; odd text is stored as text."""
    add_fault(shop, kind=kind, path="/order", page=1, times=1, field="manager_comment")
    run = ingest("full")
    assert run.verdict == "complete", run.reason
    assert run.rejected == 0
    assert lake_orders(lake, engine) == shop_orders(shop)
    assert run.appended["bronze.orders"] == len(shop_orders(shop))


def test_an_order_that_cannot_be_typed_is_rejected_once_and_comes_back(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """If it is seen again, it is counted and not stored again; once it is valid, it becomes an order."""
    add_fault(shop, kind="wrong_type", path="/order", page=1, times=0, field="grand_total", row=0)
    first, second = ingest("full"), ingest("full")
    assert first.verdict == second.verdict == "complete"
    assert first.rejected == second.rejected > 0
    missing = shop_orders(shop).keys() - lake_orders(lake, engine).keys()
    assert len(missing) == first.appended["bronze.rejected"]
    assert "bronze.rejected" not in second.appended
    rejected = open_table(lake, "bronze.rejected").read().to_pylist()
    assert {row["id"] for row in rejected} == missing
    assert all("grand_total" in row["reason"] and row["entity"] == "orders" for row in rejected)
    shop.call(lambda running: running.shop.plan.clear())
    ingest("full")
    assert lake_orders(lake, engine) == shop_orders(shop)


def test_a_refused_key_stops_the_run_and_leaves_a_receipt(ingest: Ingest, lake: Lake) -> None:
    """There is no retry, because every answer would be the same."""
    with pytest.raises(KeyRefused, match="KEYCRM_API_KEY"):
        ingest("full", key="wrong")
    run = last_runs(lake)[0]
    assert run
    assert (run.verdict, run.retries) == ("incomplete", 0)
    assert run.requests <= 10


def test_the_machines_clock_may_be_wrong(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """Windows follow the CRM's clock, which is months behind this machine's here."""
    run = ingest("full")
    now = shop.call(lambda running: running.world.now)
    assert run.source_time is not None
    assert abs(run.source_time - now) < timedelta(seconds=2)


@pytest.mark.usefixtures("loaded")
def test_a_later_observation_is_never_stamped_earlier(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """If the machine's clock stepped back and the lake has a stamp of tomorrow, the new state still wins."""
    table = open_table(lake, "bronze.orders")
    rows = table.read().slice(0, 1)
    stamp = rows["fetched_at"][0].as_py() + timedelta(days=1)
    column = rows.schema.get_field_index("fetched_at")
    table.append(rows.set_column(column, rows.schema.field(column), [[stamp]]).cast(table.schema))
    (key,) = rows["id"].to_pylist()
    edit(shop, edits.EditOrder(key, grand_total=Decimal("5.55")))
    ingest("incremental")
    assert lake_orders(lake, engine)[key][0] == Decimal("5.55")


@pytest.mark.usefixtures("loaded")
def test_lines_without_their_order_do_not_count(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """If a crash leaves lines without their order, the next observation appends both."""
    edit(shop, edits.SetStatus(5, 12))
    lines = open_table(lake, "bronze.order_products")
    rows = lines.read().slice(0, 3)
    column = rows.schema.get_field_index("fetched_at")
    later = [stamp + timedelta(seconds=1) for stamp in rows["fetched_at"].to_pylist()]
    lines.append(rows.set_column(column, rows.schema.field(column), [later]).cast(lines.schema))
    assert lake_orders(lake, engine).keys() == shop_orders(shop).keys()
    ingest("incremental")
    assert lake_orders(lake, engine) == shop_orders(shop)


SWITCHES: list[dict[str, object]] = [
    {"stamps": "offset_4"},
    {"stamps": "plain"},
    {"amounts_as_strings": True},
    {"last_page_key": False},
    {"client_id_key": False},
    {"line_id_key": False},
    {"created_between_on": "ordered_at"},
    {"date_only_end": "end_of_day"},
    {"default_sort": "id"},
    {"second_sort_key": "all_ignored"},
    {"limit_over_50": "error"},
    {"extras_in_total": False},
    {"offer_for_every_product": False},
    {"no_contacts": "empty"},
    {"builtin_names": "label"},
    {"rate_window": "fixed", "retry_after": "missing"},
]


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_nothing_is_missed_whatever_the_crm_does(
    switch: dict[str, object], ingest: Ingest, lake: Lake, engine: LakeSettings
) -> None:
    """Each fact on which public sources disagree is tested the other way."""
    settings = msgspec.convert(
        {**msgspec.to_builtins(SMALL), "days": 20, "orders_per_day": 12, **switch}, type(SMALL)
    )
    with serving(settings) as shop:
        assert ingest("full", shop_url=shop.url).verdict == "complete"
        assert lake_orders(lake, engine) == shop_orders(shop)
        pass_time(shop, days=1)
        edit(shop, edits.SetStatus(3, 22), edits.DeleteOrder(4))
        ingest("incremental", shop_url=shop.url)
        ingest("sweep", shop_url=shop.url)
        assert lake_orders(lake, engine) == shop_orders(shop)


@pytest.mark.usefixtures("loaded")
def test_merged_buyers_and_copied_orders_are_followed(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """If buyers are merged, their orders change silently: a sweep finds the new buyer, and the lines stay."""
    orders = [order for order in shop.call(lambda running: running.world.truth()).orders if order.buyer_id]
    loser = orders[0].buyer_id
    survivor = next(order.buyer_id for order in orders if order.buyer_id != loser)
    assert loser
    assert survivor
    edit(shop, edits.MergeBuyers(loser_id=loser, survivor_id=survivor))
    ingest("sweep")
    buyers = {
        order.id: order.buyer_id
        for order in shop.call(lambda running: running.world.truth()).orders
        if not order.is_deleted
    }
    newest = "from bronze.orders qualify row_number() over (partition by id order by fetched_at desc) = 1"
    rows = open_session(lake, engine, None).execute(f"select id, buyer_id from ({newest})").fetchall()
    assert {number: buyer for number, buyer in rows if number in buyers} == buyers
    assert loser not in buyers.values()


def test_a_full_load_survives_a_clock_that_is_wrong_for_one_answer(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """The Date of the first answer is an hour ahead, and an order is edited after it was read."""
    add_fault(shop, kind="skew", path="/order", seconds=3600, times=1)
    add_fault(shop, kind="status", path="/order", page=2, nth=3, times=1000)
    assert ingest("full").verdict == "incomplete"
    shop.call(lambda running: running.shop.plan.clear())
    pass_time(shop, minutes=10)
    edit(shop, edits.EditOrder(2, grand_total=Decimal("77.77")))
    pass_time(shop, minutes=1)
    assert ingest("full").verdict == "complete"
    ingest("incremental")
    assert lake_orders(lake, engine)[2][0] == Decimal("77.77")


def test_a_refused_key_in_the_middle_keeps_what_arrived_and_leaves_a_receipt(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """If the key is refused while rows are committed, no order is torn and the receipt has the reason."""
    add_fault(shop, kind="status", path="/order", page=3, nth=2, status=401, times=0)
    with pytest.raises(KeyRefused):
        ingest("full")
    run = last_runs(lake)[0]
    assert run
    assert run.verdict == "incomplete"
    assert run.reason
    assert "refused the API key" in run.reason
    assert run.appended["bronze.orders"] == len(lake_orders(lake, engine))
    assert set(lake_orders(lake, engine).items()) <= set(shop_orders(shop).items())


def test_a_slow_server_is_waited_for(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """If every page is late, the rows are the same and no request is repeated."""
    add_fault(shop, kind="delay", path="/order", seconds=0.05, times=0)
    run = ingest("full")
    assert (run.verdict, run.retries) == ("complete", 0)
    assert lake_orders(lake, engine) == shop_orders(shop)


def test_a_stalled_answer_is_requested_again(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """Silence counts as a failure after the time-out."""
    add_fault(shop, kind="stall", path="/order", page=2, seconds=30, times=1)
    run = ingest("full", timeout_seconds=0.5)
    assert (run.verdict, run.retries) == ("complete", 1)
    assert lake_orders(lake, engine) == shop_orders(shop)


@pytest.mark.parametrize(("path", "field"), [("/buyer", "full_name"), ("/products", "name")])
@pytest.mark.parametrize("kind", ["emoji", "nul", "long"])
def test_odd_text_in_a_typed_column_is_text(
    kind: str, path: str, field: str, ingest: Ingest, shop: ThreadedShop, lake: Lake
) -> None:
    """Emoji, NUL and 100,000 characters are valid names."""
    add_fault(shop, kind=kind, path=path, page=1, field=field, times=0)
    run = ingest("full")
    assert (run.verdict, run.rejected) == ("complete", 0)


def test_a_null_where_a_number_belongs_is_refused(
    ingest: Ingest, shop: ThreadedShop, lake: Lake, engine: LakeSettings
) -> None:
    """If the first order of all is rejected, the others still arrive."""
    add_fault(shop, kind="null", path="/order", page=1, field="created_at", row=0, times=0)
    run = ingest("full")
    assert run.verdict == "complete", run.reason
    assert run.rejected > 0
    assert len(lake_orders(lake, engine)) == len(shop_orders(shop)) - run.appended["bronze.rejected"]


@pytest.mark.parametrize("numbers", [[signal.SIGTERM], [signal.SIGINT], [signal.SIGHUP], [signal.SIGINT] * 2])
def test_an_interrupted_load_keeps_its_rows_and_leaves_a_receipt(
    ingest: Ingest,
    shop: ThreadedShop,
    lake: Lake,
    engine: LakeSettings,
    tmp_path: Path,
    numbers: list[signal.Signals],
) -> None:
    """The receipt has the reason, and the next load continues."""
    budget = {
        "KEYLAKE_SOURCE_REQUESTS_PER_MINUTE": "60",
        "KEYLAKE_SOURCE_BUDGET_FOLDER": str(tmp_path / "shared"),
    }
    command = [sys.executable, "-m", "ingest", "full"]
    with launched(
        command,
        env=environ_of(lake, shop.url, **budget),
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(
            numbers[0], signal.SIG_DFL
        ),  # a background job of a shell ignores some signals
    ) as child:
        while shop.call(lambda running: running.shop.tally.counts()).requests < 60 and child.poll() is None:
            time.sleep(0.05)
        for number in numbers:
            child.send_signal(number)
            time.sleep(0.05)  # a second one comes while the first is handled
        _, printed = child.communicate()
    assert child.returncode == 130
    assert "interrupted; finished work is kept" in printed
    assert "Traceback" not in printed
    if len(numbers) == 1:  # after a second signal there is no receipt
        receipt, _ = last_runs(lake)
        assert receipt
        assert (receipt.verdict, receipt.reason) == ("incomplete", "it was interrupted")
        assert sum(receipt.appended.values()) > 0
    assert ingest("full").verdict == "complete"
    assert lake_orders(lake, engine) == shop_orders(shop)
