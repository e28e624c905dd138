"""Validation of a day, CRM against lake; and the commands of the ingest as a person types them."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal

import pytest

from ingest.sandbox import edits
from ingest.sandbox.command import ThreadedShop
from ingest.validation import day_of
from lake.paths import Lake
from lake.runs import Run
from tests.ingest.shop import edit, versions
from tests.recompute import day_of as day_of_order
from tests.running import environ_of, run, succeed

Ingest = Callable[..., Run]


def some_day(shop: ThreadedShop) -> tuple[date, list[int]]:
    """Return a shop day of the middle of its history, and its orders."""
    orders = [
        order for order in shop.call(lambda running: running.world.truth()).orders if not order.is_deleted
    ]
    day = day_of_order(orders[len(orders) // 2])
    return day, [order.id for order in orders if day_of_order(order) == day]


def test_a_day_that_agrees_is_exit_0_with_both_sides(ingest: Ingest, shop: ThreadedShop, lake: Lake) -> None:
    """Orders and money of the CRM and of the lake, side by side; nothing is written."""
    ingest("full")
    before = versions(lake)
    day, ids = some_day(shop)
    printed = succeed(environ_of(lake, shop.url), "ingest", "validate", day.isoformat())
    assert "CRM and lake agree" in printed
    orders = next(line for line in printed.splitlines() if line.strip().startswith("orders"))
    assert orders.split() == ["orders", str(len(ids)), str(len(ids))]
    assert versions(lake) == before


def test_a_day_that_differs_is_exit_1_and_names_the_orders(
    ingest: Ingest, shop: ThreadedShop, lake: Lake
) -> None:
    """Silent edits, deletions, orders that moved away or came: each by its id, and how to mend it."""
    ingest("full")
    day, (changed, gone, moved, *_) = some_day(shop)
    noon = day_of(day)[0] + timedelta(hours=12)
    stranger = next(
        order.id
        for order in shop.call(lambda running: running.world.truth()).orders
        if not order.is_deleted and 1 <= (day_of_order(order) - day).days <= 3
    )
    edit(
        shop,
        edits.EditOrder(changed, grand_total=Decimal("3.33"), bump=False),
        edits.DeleteOrder(gone),
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
    assert {int(found) for found in named} == {changed, gone, moved, stranger}
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
    """The nights the clocks change have one hour less, and one more."""
    first, last = day_of(day)
    assert first.isoformat() == since
    assert last - first == timedelta(hours=hours, seconds=-1)


@pytest.mark.parametrize(
    ("command", "said"),
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
def test_wrong_words_are_exit_2(lake: Lake, command: tuple[str, ...], said: str) -> None:
    """In one line, before the CRM is asked anything."""
    done = run(environ_of(lake), "ingest", *command)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr


def test_every_kind_is_a_command(ingest: Ingest, shop: ThreadedShop, lake: Lake) -> None:
    """As the recipes run them, without a terminal: a log line per window, a summary at the end."""
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
    assert row[-3:] == ["s", "ago", "0"]
