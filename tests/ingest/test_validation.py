"""Validation of a day, CRM against lake; and the ingest's commands as an operator types them."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ingest.entities import ORDERS
from ingest.observations import observe
from ingest.run import RunRequest
from ingest.sandbox import edits
from ingest.sandbox.command import ThreadedShop
from ingest.schemas import LISTS
from ingest.validation import Report, Side, day_of, differences, read_lake, type_side
from ingest.validation import figures as figures_of
from ingest.writer import Writer
from lake.delta.tables import open_table
from lake.ledgers.runs import Run
from lake.paths import Lake
from lake.query.session import connect
from lake.settings import LakeSettings
from tests.ingest.test_observations import order
from tests.support.recompute import day_of as day_of_order
from tests.support.running import environ_of, run, succeed
from tests.support.shop_edits import edit, shop_orders, versions

Ingest = Callable[..., Run]
FIGURES = ("orders", "grand total", "revenue")


def some_day(shop: ThreadedShop) -> tuple[date, list[int]]:
    """Return a shop day in the middle of the history, and its orders."""
    orders = [
        order for order in shop.call(lambda running: running.world.truth()).orders if not order.is_deleted
    ]
    day = day_of_order(orders[len(orders) // 2])
    return day, [order.id for order in orders if day_of_order(order) == day]


def figures(printed: str) -> dict[str, list[str]]:
    """Return the figures in a printed table: the CRM's and the lake's."""
    lines = [line.strip() for line in printed.splitlines()]
    rows = [line.rsplit(maxsplit=2) for line in lines if line.startswith(FIGURES)]
    return {name.strip(): values for name, *values in rows}


@pytest.mark.usefixtures("loaded")
def test_a_day_that_agrees_is_exit_0_with_both_sides(ingest: Ingest, shop: ThreadedShop, lake: Lake) -> None:
    """Orders and money of both sides are printed, and nothing is written."""
    before = versions(lake)
    day, ids = some_day(shop)
    printed = succeed(environ_of(lake, shop.url), "ingest", "validate", day.isoformat())
    assert "CRM and lake agree" in printed
    total = sum((shop_orders(shop)[number][0] for number in ids), Decimal())
    assert figures(printed) == {
        "orders": [str(len(ids))] * 2,
        "grand total": [str(total)] * 2,
    }
    assert versions(lake) == before


def test_a_day_without_orders_is_reported(ingest: Ingest, shop: ThreadedShop, lake: Lake) -> None:
    """If the year is mistyped, the output must not look like an agreement."""
    ingest("incremental")
    assert succeed(environ_of(lake, shop.url), "ingest", "validate", "2031-01-01").endswith(
        "2031-01-01: CRM and lake agree: neither has an order of that day\n"
    )


def test_revenue_equals_that_of_the_release(ingest: Ingest, shop: ThreadedShop, lake: Lake) -> None:
    """Both sides leave out returns and excluded sources; if only the CRM has a return, the figures differ."""
    edit(shop, *(edits.SetStatus(printed, 19) for printed in some_day(shop)[1][:3]))
    ingest("full")
    day, (_, _, _, sold, *_) = some_day(shop)
    environ = environ_of(lake, shop.url)
    succeed(environ, "transform")
    query = f"select sum(revenue) from gold.revenue_daily where date = '{day}'"
    revenue = Decimal(succeed(environ, "lake", "sql", query, "--format", "csv").split()[1])
    printed = figures(succeed(environ, "ingest", "validate", day.isoformat()))
    assert printed["revenue by the rules of release 1"] == [str(revenue)] * 2
    assert Decimal(printed["grand total"][0]) > revenue
    edit(shop, edits.SetStatus(sold, 19, bump=False))
    printed = figures(run(environ, "ingest", "validate", day.isoformat()).stdout)
    theirs, ours = map(Decimal, printed["revenue by the rules of release 1"])
    assert (theirs, ours) == (revenue - shop_orders(shop)[sold][0], revenue)


@pytest.mark.usefixtures("loaded")
def test_an_order_entered_weeks_early_belongs_to_its_day(
    ingest: Ingest, shop: ThreadedShop, lake: Lake
) -> None:
    """Wholesale is entered early, and is found even if the lake does not have it."""
    day, ids = some_day(shop)
    noon = day_of(connect(LakeSettings()), day)[0] + timedelta(hours=12)
    edit(shop, edits.AddOrder(created_at=noon - timedelta(days=40), ordered_at=noon))
    environ = environ_of(lake, shop.url)
    done = run(environ, "ingest", "validate", day.isoformat())
    (new,) = done.stderr.split("`just ingest order ")[1].split("`")[0].split()
    assert new == str(max(shop_orders(shop)))
    assert figures(done.stdout)["orders"] == [str(len(ids) + 1), str(len(ids))]
    succeed(environ, "ingest", "order", new)
    # It was entered months before, outside the span that is read, but the lake has it.
    edit(shop, edits.AddOrder(created_at=noon - timedelta(days=90), ordered_at=noon))
    succeed(environ, "ingest", "order", str(max(shop_orders(shop))))
    printed = succeed(environ, "ingest", "validate", day.isoformat())
    assert figures(printed)["orders"] == [str(len(ids) + 2)] * 2


@pytest.mark.usefixtures("loaded")
def test_an_erased_person_is_no_difference(ingest: Ingest, shop: ThreadedShop, lake: Lake) -> None:
    """The lake's payload is redacted but its hash stays; if the order changes later, the field is named."""
    day, ids = some_day(shop)
    rows = open_table(lake, "bronze.orders").read(["id", "buyer_id"]).to_pylist()
    number, buyer = next((row["id"], row["buyer_id"]) for row in rows if row["id"] in ids and row["buyer_id"])
    environ = environ_of(lake, shop.url)
    succeed(environ, "ingest", "erase-buyer", str(buyer))
    assert "agree" in succeed(environ, "ingest", "validate", day.isoformat())
    edit(shop, edits.SetStatus(number, 22, bump=False))
    printed = run(environ, "ingest", "validate", day.isoformat()).stdout
    (line,) = [line for line in printed.splitlines() if line.split()[:1] == [str(number)]]
    assert {"status_id", "status_group_id"} <= set(line.replace(",", " ").split())
    assert "buyer" not in line


def at_noon(ordered_at: str = "2026-01-15T10:00:00Z", **changes: object) -> bytes:
    """Return an order of 15 January."""
    return json.dumps(order(ordered_at=ordered_at, **changes)).encode()


def crm_side(*payloads: bytes, lake_ids: frozenset[int] = frozenset()) -> Side:
    """Return the CRM's side of 15 January."""
    rows = [observe(ORDERS, payload, datetime(2026, 2, 1, tzinfo=UTC)) for payload in payloads]
    return type_side(rows, *day_of(connect(LakeSettings()), date(2026, 1, 15)), lake_ids=lake_ids)


def lake_side(lake: Lake, engine: LakeSettings, *payloads: bytes) -> Side:
    """Write payloads to the lake and return its side of 15 January."""
    writer = Writer(lake, connect(engine), run_id="test")
    writer.create_tables()
    writer.write(ORDERS, [observe(ORDERS, payload, datetime(2026, 2, 1, tzinfo=UTC)) for payload in payloads])
    connection = connect(engine)
    return read_lake(lake, connection, *day_of(connection, date(2026, 1, 15)))


def test_text_that_is_no_utf_8_is_compared(lake: Lake, engine: LakeSettings) -> None:
    """Such a byte is U+FFFD on both sides, so it is no difference; any other text is."""
    odd = at_noon(id=1, manager_comment="?").replace(b'"?"', b'"\xff"')
    ours = lake_side(lake, engine, odd)
    assert ours.orders.num_rows == crm_side(odd).orders.num_rows == 1
    assert differences(crm_side(odd), ours) == []
    dearer = at_noon(id=1, grand_total=9, manager_comment="?").replace(b'"?"', b'"\xff"')
    assert differences(crm_side(dearer), ours) == [(1, "grand_total")]
    assert differences(crm_side(odd.replace(b"\xff", b"\xfe")), ours) == []
    assert differences(crm_side(odd.replace(b"\xff", b"fine")), ours) == [(1, "manager_comment")]


def test_an_order_that_cant_be_typed_is_named_with_the_reason(lake: Lake, engine: LakeSettings) -> None:
    """It counts as an order of the CRM without money; if it is of another day, it is ignored."""
    fine = at_noon(id=1, grand_total=10)
    spoilt = at_noon(id=2, grand_total=1.005)
    dateless = at_noon(id=3, ordered_at="soon")
    elsewhere = at_noon("2026-03-01T10:00:00Z", id=4, grand_total="much")
    ours = lake_side(lake, engine, fine, at_noon(id=3))
    theirs = crm_side(fine, spoilt, dateless, elsewhere, lake_ids=frozenset({1, 3}))
    assert sorted(theirs.by_id) == [1, 2, 3]
    (two, why), (three, _) = differences(theirs, ours)
    assert (two, three) == (2, 3)
    assert "can't be typed: grand_total is 1.005" in why
    totals = figures_of(lake, connect(engine), theirs, ours)
    assert totals == [("orders", 3, 2), ("grand total", Decimal("10.00"), lake_total(ours))]


def lake_total(side: Side) -> Decimal:
    """Return the sum of a side."""
    return sum((row["grand_total"] for row in side.by_id.values()), Decimal())


def test_a_changed_column_is_a_difference(lake: Lake, engine: LakeSettings) -> None:
    """If a column of the lake was changed, equal hashes do not hide it."""
    ours = lake_side(lake, engine, at_noon(id=1, grand_total=10))
    column = pa.array([Decimal("11.00")], ours.orders.schema.field("grand_total").type)
    position = ours.orders.column_names.index("grand_total")
    changed = Side(ours.orders.set_column(position, "grand_total", column))
    assert differences(crm_side(at_noon(id=1, grand_total=10)), changed) == [(1, "grand_total")]


def test_a_damaged_row_is_replaced_by_its_own_command() -> None:
    """A plain copy writes nothing, because the content is the same."""
    report = Report([], [(1, "grand_total"), (2, "status_id"), (3, "note")], 9, frozenset({1, 3}))
    assert report.remedy.startswith(
        "`just ingest order 2` copies them again; `just ingest order 1 3 --again` "
    )


@pytest.mark.usefixtures("loaded")
def test_a_damaged_row_of_any_day_is_recognised(
    shop: ThreadedShop, lake: Lake, engine: LakeSettings, ingest: Ingest
) -> None:
    """Its amount is another, or its day; after the command, both sides agree."""
    day, (dearer, moved, *_) = some_day(shop)
    table = open_table(lake, "bronze.orders")
    damaged = table.read(where=pc.field("id").isin([dearer, moved])).to_pylist()
    for row in damaged:
        row["fetched_at"] += timedelta(seconds=1)
        change = (
            {"grand_total": Decimal("9999.00")} if row["id"] == dearer else {"ordered_at": row["fetched_at"]}
        )
        row.update(change)
    table.append(pa.Table.from_pylist(damaged, schema=LISTS["bronze.orders"].schema))
    environ = environ_of(lake, shop.url)
    done = run(environ, "ingest", "validate", day.isoformat())
    command = f"`just ingest order {min(dearer, moved)} {max(dearer, moved)} --again`"
    assert (done.returncode, command in done.stderr) == (1, True), done.stderr
    request = RunRequest(kind="orders", ids=(dearer, moved), again=True)
    assert ingest("orders", request=request).appended["bronze.orders"] == 2
    assert "agree" in succeed(environ, "ingest", "validate", day.isoformat())


@pytest.mark.usefixtures("loaded")
def test_a_day_that_differs_is_exit_1_and_names_the_orders(
    ingest: Ingest, shop: ThreadedShop, lake: Lake
) -> None:
    """Silent edits, deletions and orders that moved are listed by id, with the command that copies them."""
    day, (changed, deleted, moved, *_) = some_day(shop)
    noon = day_of(connect(LakeSettings()), day)[0] + timedelta(hours=12)
    stranger = next(
        order.id
        for order in shop.call(lambda running: running.world.truth()).orders
        if not order.is_deleted and 1 <= (day_of_order(order) - day).days <= 3
    )
    edit(
        shop,
        edits.EditOrder(changed, grand_total=Decimal("3.33"), bump=False),
        edits.DeleteOrder(deleted),
        edits.EditOrder(moved, ordered_at=noon - timedelta(days=2), bump=False),
        edits.EditOrder(stranger, ordered_at=noon, bump=False),
    )
    environ = environ_of(lake, shop.url)
    done = run(environ, "ingest", "validate", day.isoformat())
    assert done.returncode == 1
    assert "grand_total" in done.stdout
    assert done.stdout.count("not on this day in the CRM") == 2
    assert done.stdout.count("not on this day in the lake") == 1
    named = done.stderr.split("`just ingest order ")[1].split("`")[0].split()
    assert {int(number) for number in named} == {changed, deleted, moved, stranger}
    succeed(environ, "ingest", "order", *named)
    assert "agree" in succeed(environ, "ingest", "validate", day.isoformat())


@pytest.mark.parametrize(
    ("day", "since", "hours"),
    [
        (date(2026, 1, 15), "2026-01-14T22:00:00+00:00", 24),
        (date(2026, 7, 15), "2026-07-14T21:00:00+00:00", 24),
        (date(2026, 3, 29), "2026-03-28T22:00:00+00:00", 23),
        (date(2026, 10, 25), "2026-10-24T21:00:00+00:00", 25),
    ],
)
def test_a_shop_day_is_a_day_in_kyiv(day: date, since: str, hours: int) -> None:
    """The days of the clock changes have 23 and 25 hours."""
    first, last = day_of(connect(LakeSettings()), day)
    assert first.isoformat() == since
    assert last - first == timedelta(hours=hours, seconds=-1)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("validate", "yesterday"), "is no day"),
        (("window", "--from", "2026-09-02", "--to", "2026-09-01"), "is after"),
        (("window", "--from", "2026-09-02"), "--to"),
        (("window", "--from", "2026-09-01T10:00:00", "--to", "2026-09-02"), "has no zone"),
        (("window", "--from", "soon", "--to", "2026-09-02"), "is no time"),
        (("sweep", "--days", "3", "--all"), "choose one"),
        (("sweep", "--days", "0"), "--days"),
        (("order",), "IDS"),
        (("order", "many"), "IDS"),
    ],
)
def test_wrong_usage_is_exit_2(lake: Lake, command: tuple[str, ...], message: str) -> None:
    """The error is one line, before any request to the CRM."""
    done = run(environ_of(lake), "ingest", *command)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr


def test_every_kind_is_a_command(ingest: Ingest, shop: ThreadedShop, lake: Lake) -> None:
    """Without a terminal there is a log line per window and a summary at the end."""
    environ = environ_of(lake, shop.url)
    done = run(environ, "ingest", "full")
    assert done.returncode == 0
    assert done.stderr.count("ingest.window") > 8
    assert "sweep ingest complete" in succeed(environ, "ingest", "sweep")
    assert "sweep ingest complete" in succeed(environ, "ingest", "sweep", "--all")
    assert "orders ingest complete" in succeed(environ, "ingest", "order", "3", "5")
    window = ("window", "--from", "2024-09-10", "--to", "2024-09-12T10:00:00+03:00")
    assert "window ingest complete" in succeed(environ, "ingest", *window)
    status = succeed(environ, "lake", "status")
    row = next(line.split() for line in status.splitlines() if "bronze.orders" in line)
    assert row[-2:] == ["s", "0"]
