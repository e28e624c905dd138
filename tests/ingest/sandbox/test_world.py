"""The shop's history depends only on the seed, and has every kind of order."""

import datetime as dt
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import ingest
from ingest.sandbox.index import entry
from ingest.sandbox.records import Order
from ingest.sandbox.settings import Sandbox
from ingest.sandbox.world import World

SMALL = Sandbox(
    seed=2,
    orders_per_day=12.0,
    start=dt.date(2024, 9, 5),
    merge_bumps_updated_at=True,
    status_bumps_updated_at=0.5,
)
DAYS = 65
KYIV = ZoneInfo("Europe/Kyiv")


def state(world: World) -> bytes:
    """Return all records of the shop as bytes."""
    store = world.store
    goods = (
        list(store.shelves.products.values()),
        store.shelves.offers,
        list(store.shelves.categories.values()),
    )
    people = (store.buyers, list(store.managers.values()), sorted(store.by_phone.items()))
    return msgspec.json.encode((world.at, store.orders, goods, people, list(store.statuses.values())))


def lived(chosen: Sandbox, days: float) -> World:
    """Return a world after the given number of days in one step."""
    world = World(chosen)
    world.advance(world.now + dt.timedelta(days=days))
    return world


@pytest.fixture(scope="module")
def at_once() -> bytes:
    """Return the small shop's state after its days in one step."""
    return state(lived(SMALL, DAYS))


def test_same_seed_same_bytes(at_once: bytes) -> None:
    """The same seed gives the same history, and another seed gives another."""
    assert state(lived(SMALL, DAYS)) == at_once
    assert state(lived(replace(SMALL, seed=8), DAYS)) != at_once


def test_same_bytes_in_another_process() -> None:
    """The history does not depend on the hash seed of the process."""
    program = (
        "import datetime as dt, hashlib, msgspec\n"
        "from ingest.sandbox.settings import Sandbox\n"
        "from ingest.sandbox.world import World\n"
        "world = World(Sandbox())\n"
        "world.advance(world.now + dt.timedelta(days=40))\n"
        "print(hashlib.sha256(msgspec.json.encode(world.truth())).hexdigest())\n"
    )
    packages = ingest.__path__[0].removesuffix("/ingest")
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": salt},
            cwd=packages,
            capture_output=True,
            check=True,
        ).stdout
        for salt in ("1", "2")
    }
    assert len(said) == 1


def test_small_shop_has_merges_and_copies() -> None:
    """The small shop has merged cards and copied orders, which change more than one order."""
    store = lived(SMALL, DAYS).store
    assert sum(bool(buyer.merged_into) for buyer in store.buyers) > 2
    born = {order.created_at for order in store.orders}
    assert any(order.deleted_at in born for order in store.orders)


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(min_value=0, max_value=DAYS * 86_400), max_size=40))
def test_one_step_equals_many(at_once: bytes, cuts: list[int]) -> None:
    """Any sequence of advances, with reads between them, leads to the same state."""
    world = World(SMALL)
    opened = world.now
    for cut in sorted(cuts):
        world.advance(opened + dt.timedelta(seconds=cut))
        world.store.orders_by("updated_at").slice(0, 5)
    world.advance(opened + dt.timedelta(days=DAYS))
    assert state(world) == at_once
    live = [order for order in world.store.orders if not order.deleted_at]
    for stamp in ("created_at", "updated_at", "ordered_at"):
        index = world.store.orders_by(stamp)
        assert index.slice(0, len(index)) == sorted(entry(getattr(order, stamp), order.id) for order in live)


def test_going_back_changes_nothing() -> None:
    """Advancing to a past time changes nothing."""
    world = lived(SMALL, 3)
    before = state(world)
    world.advance(world.now - dt.timedelta(days=1))
    assert state(world) == before


def kyiv(at: int) -> dt.datetime:
    """Return the Kyiv time of a number of seconds since 1970."""
    return dt.datetime.fromtimestamp(at, KYIV)


def test_size_and_mix(two_years: World) -> None:
    """Two years have about 36,500 orders in the mix of a real shop."""
    orders = two_years.store.orders
    assert 35_000 < len(orders) < 39_000
    assert 3.1 < sum(len(order.lines) for order in orders) / len(orders) < 3.6
    sources = Counter(order.source_id for order in orders)
    assert set(sources) == {1, 2, 3, 4, 5}
    shares = [round(100 * sources[id] / len(orders)) for id in (1, 2, 4)]
    assert [abs(share - usual) <= 4 for share, usual in zip(shares, (38, 14, 47), strict=True)] == [True] * 3
    returned = sum(order.status_id in (19, 21, 22, 23) for order in orders) / len(orders)
    assert 0.05 < returned < 0.08
    lines = [line for order in orders for line in order.lines]
    assert 0.07 < sum(not line.offer_id for line in lines) / len(lines) < 0.09
    gone = sum(bool(order.deleted_at) for order in orders) / len(orders)
    assert 0.0005 < gone < 0.002


def test_ids_are_dense_and_follow_creation(two_years: World) -> None:
    """Ids of orders and lines have no gaps and ascend with creation."""
    orders = two_years.store.orders
    assert [order.id for order in orders] == list(range(1, len(orders) + 1))
    assert [order.created_at for order in orders] == sorted(order.created_at for order in orders)
    ids = [line.id for order in orders for line in order.lines]
    assert len(ids) == len(set(ids))
    spent = [expense.id for order in orders for expense in order.expenses]
    assert len(spent) == len(set(spent))


def test_every_sales_type_occurs(two_years: World) -> None:
    """There are retail, wholesale and other orders, and web orders without a manager."""
    orders = two_years.store.orders
    managers = {(order.manager_id, order.source_id) for order in orders}
    assert {
        (22, 1),
        (4, 1),
        (16, 2),
        (15, 1),
        (8, 1),
        (11, 2),
        (0, 4),
        (0, 1),
        (0, 2),
        (0, 3),
        (16, 5),
        (0, 5),
    } <= managers


def test_the_old_storefront_was_retired_early(two_years: World) -> None:
    """Opencart orders exist, and none was created after the shop's second month."""
    old = [order.created_at for order in two_years.store.orders if order.source_id == 3]
    assert len(old) > 300
    assert max(old) < two_years.opened + 31 * 86_400


KINDS: dict[str, Callable[[Order], object]] = {
    "a gift with priced lines": lambda order: order.grand_total == 0 and order.products_total > 0,
    "order, line and loyalty discounts together": lambda order: order.discount_percent
    and order.loyalty
    and any(line.discount_percent and line.loyalty for line in order.lines),
    "an order discount in percent and money": lambda order: order.discount_percent and order.discount_amount,
    "paid shipping": lambda order: order.shipping_price,
    "wrapping": lambda order: order.wrap_price,
    "taxes": lambda order: order.taxes,
    "no buyer": lambda order: not order.buyer_id,
    "three expenses": lambda order: len(order.expenses) >= 3,
    "a cancelled expense": lambda order: any(expense.status == "canceled" for expense in order.expenses),
    "an unpaid expense": lambda order: any(expense.status == "not_paid" for expense in order.expenses),
    "an edited expense": lambda order: any(each.updated_at > each.created_at for each in order.expenses),
    "a line added later": lambda order: any(line.created_at > order.created_at for line in order.lines),
    "an edited line": lambda order: any(line.updated_at > line.created_at for line in order.lines),
    "part of a unit": lambda order: any(line.quantity % 1000 for line in order.lines),
    "an unknown cost": lambda order: any(line.offer_id and line.cost is None for line in order.lines),
    "ordered weeks after creation": lambda order: order.ordered_at > order.created_at + 14 * 86_400,
    "ordered minutes before creation": lambda order: order.source_id == 4
    and 300 <= order.created_at - order.ordered_at <= 1200,
    "back-dated by days": lambda order: order.ordered_at < order.created_at - 2 * 86_400,
    "a status not told by updated_at": lambda order: order.status_changed_at > order.updated_at,
    "a return long after": lambda order: order.status_id == 22
    and order.status_changed_at > order.created_at + 90 * 86_400,
    "a status that is not listed": lambda order: order.status_id == 25,
    "a merged order": lambda order: order.status_id == 24,
    "ordered on another Kyiv day than UTC day": lambda order: kyiv(order.ordered_at).hour < 2,
    "in the minute before midnight": lambda order: kyiv(order.ordered_at).strftime("%H:%M") == "23:59",
    "in the minute after midnight": lambda order: kyiv(order.ordered_at).strftime("%H:%M") == "00:00",
    "in the hour that happens twice, first time": lambda order: kyiv(order.ordered_at).hour == 3
    and kyiv(order.ordered_at).fold == 0
    and kyiv(order.ordered_at + 3600).hour == 3,
    "in the hour that happens twice, second time": lambda order: kyiv(order.ordered_at).fold == 1,
    "on the night that skips an hour": lambda order: kyiv(order.ordered_at).hour == 4
    and kyiv(order.ordered_at - 7200).hour == 1,
    "deleted": lambda order: order.deleted_at,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_order_occurs(two_years: World, kind: str) -> None:
    """Two years of the shop have every kind of order of the CRM."""
    assert any(KINDS[kind](order) for order in two_years.store.orders)


def test_uncollected_orders_are_copied_and_deleted(two_years: World) -> None:
    """At the end of a month an uncollected order is copied to a new id, and the old one is deleted."""
    orders = two_years.store.orders
    closing = [
        order.deleted_at for order in orders if kyiv(order.deleted_at).strftime("%H:%M:%S") == "21:40:00"
    ]
    assert closing
    for at in closing:
        assert (kyiv(at) + dt.timedelta(days=1)).day == 1
        old = [order for order in orders if order.deleted_at == at]
        new = [order for order in orders if order.created_at == at]
        assert sorted(order.buyer_id for order in old) == sorted(order.buyer_id for order in new)
        assert min(order.id for order in new) > max(order.id for order in old)


def test_buyers(two_years: World) -> None:
    """There are repeat buyers, cards with several phones or none, phones on two cards, and merged cards."""
    store = two_years.store
    counts = [len(buyer.order_ids) for buyer in store.buyers if not buyer.merged_into]
    assert 0.35 < len(store.buyers) / len(store.orders) < 0.5
    assert sum(count > 1 for count in counts) > 0.3 * len(counts)
    assert max(counts) <= 200
    assert {0, 1, 2} <= {len(buyer.phones) for buyer in store.buyers}
    assert any(len(cards) > 1 for cards in store.by_phone.values())
    merged = [buyer for buyer in store.buyers if buyer.merged_into]
    assert merged
    assert not any(buyer.order_ids for buyer in merged)
    for order in store.orders:
        assert not order.buyer_id or not store.buyer(order.buyer_id).merged_into


def test_catalogue(two_years: World) -> None:
    """Products are with and without variants, category and brand; some are archived, renamed or repriced."""
    shelves, opened = two_years.store.shelves, two_years.opened
    products = list(shelves.products.values())
    assert 0.4 < sum(not product.category_id for product in products) / len(products) < 0.65
    assert {True, False} == {product.has_offers for product in products}
    assert {True, False} == {product.is_archived for product in products}
    assert {"value", "absent", "empty"} == {product.brand_form for product in products}
    assert any(product.created_at > opened for product in products)
    assert any(product.updated_at > product.created_at for product in products)
    sold = {(line.product_id, line.price) for order in two_years.store.orders for line in order.lines}
    assert Counter(product for product, _ in sold if product).most_common(1)[0][1] > 2
    names = {(line.product_id, line.name) for order in two_years.store.orders for line in order.lines}
    assert Counter(product for product, _ in names if product).most_common(1)[0][1] > 1


def test_an_unannounced_status_and_manager(two_years: World) -> None:
    """The shop starts to use status 20 and manager 24 after it has opened."""
    store = two_years.store
    first = min(order.created_at for order in store.orders if order.status_id == 20)
    assert first > two_years.opened + 40 * 86_400
    assert any(order.manager_id == 24 for order in store.orders)
    assert store.statuses[20].created_at > two_years.opened


def test_stock_is_what_was_bought_less_what_left(two_years: World) -> None:
    """Stock and reservations equal the effects of the orders."""
    store = two_years.store
    reserved: Counter[int] = Counter()
    for order in store.orders:
        if order.stock == 1:
            for line in order.lines:
                reserved[line.offer_id] += line.quantity
    assert all(offer.reserve == reserved[offer.id] for offer in store.shelves.offers)


def test_the_week_and_the_year_have_a_rhythm(two_years: World) -> None:
    """Sundays have few orders, and Black Friday has many."""
    days = Counter(kyiv(order.created_at).date() for order in two_years.store.orders)
    assert max(days, key=days.__getitem__).month in (9, 11)
    weekdays = Counter[int]()
    for day, number in days.items():
        weekdays[day.weekday()] += number
    assert weekdays[6] < weekdays[0]
    hours = Counter(kyiv(order.created_at).hour for order in two_years.store.orders)
    assert hours[4] * 5 < hours[20]


def unbumped(order: Order) -> bool:
    """True if updated_at is earlier than the last status change."""
    return order.status_changed_at > order.updated_at


def test_share_of_status_changes_that_bump() -> None:
    """A share of 1 always changes updated_at, 0 never does, and the rest of the history is equal."""
    always = lived(replace(SMALL, status_bumps_updated_at=1.0), 40).store.orders
    never = lived(
        replace(SMALL, status_bumps_updated_at=0.0, expense_bumps_updated_at=False), 40
    ).store.orders
    assert not any(map(unbumped, always))
    assert sum(map(unbumped, never)) > len(never) * 0.9
    assert [order.status_changed_at for order in always] == [order.status_changed_at for order in never]


def test_share_of_line_edits_that_bump() -> None:
    """The setting decides if a change of lines changes updated_at."""
    silent = replace(
        SMALL, status_bumps_updated_at=0.0, expense_bumps_updated_at=False, merge_bumps_updated_at=False
    )
    bumped = []
    for share in (0.0, 1.0):
        orders = lived(replace(silent, line_edit_bumps_updated_at=share), 40).store.orders
        edited = [
            order for order in orders if any(line.updated_at > order.created_at for line in order.lines)
        ]
        assert edited
        bumped.append([order.updated_at > order.created_at for order in edited])
    assert not any(bumped[0])
    assert all(bumped[1])


def test_no_total_is_negative() -> None:
    """The total of an order is at least 0, even if its only line is free and it has a discount."""
    orders = lived(Sandbox(seed=7, orders_per_day=150.0), 165).store.orders
    free = [order for order in orders if order.lines and not any(line.price_sold for line in order.lines)]
    assert free
    assert min(order.grand_total for order in orders) == 0
