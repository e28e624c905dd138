"""Each disputed fact of the API is a setting, and the tests try each value."""

import datetime as dt
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from ingest.sandbox import edits
from ingest.sandbox.settings import Sandbox


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("utc_z", "2024-08-30T21:30:05.000000Z"),
        ("offset_4", "2024-08-31T01:30:05.000000+04:00"),
        ("plain", "2024-08-30 21:30:05"),
    ],
)
async def test_stamps(open_shop: Any, form: str, text: str) -> None:
    """One time has each format; closed_at is plain in all of them."""
    asker = await open_shop(days=1, stamps=form)
    at = dt.datetime(2024, 8, 30, 21, 30, 5, tzinfo=dt.UTC)
    id = edits.apply(asker.world, edits.AddOrder(created_at=at, status_id=12))
    row = await asker.get(f"/order/{id}", include="products,buyer")
    assert (row["ordered_at"], row["closed_at"]) == (text, "2024-08-30 21:30:05")


@pytest.mark.parametrize(("on", "found"), [("created_at", 0), ("ordered_at", 1)])
async def test_created_between_on(open_shop: Any, on: str, found: int) -> None:
    """A setting decides if the window of an order is its creation or its sale."""
    asker = await open_shop(days=1, created_between_on=on)
    june = dt.datetime(2025, 6, 4, tzinfo=dt.UTC)
    edits.apply(asker.world, edits.AddOrder(ordered_at=june))
    window = "2025-06-01 00:00:00,2025-06-30 00:00:00"
    for sort in ("id", "-updated_at"):
        assert (await asker.get("/order", filter_created_between=window, sort=sort))["total"] == found


@pytest.mark.parametrize(("end", "found"), [("midnight", 0), ("end_of_day", 1)])
async def test_date_only_end(open_shop: Any, end: str, found: int) -> None:
    """A setting decides if a range of dates includes its last day; it always includes the first."""
    asker = await open_shop(days=0, date_only_end=end)
    edits.apply(asker.world, edits.AddOrder(created_at=dt.datetime(2024, 7, 5, 12, tzinfo=dt.UTC)))
    assert (await asker.get("/order", filter_created_between="2024-07-04,2024-07-05"))["total"] == found
    assert (await asker.get("/order", filter_created_between="2024-07-05,2024-07-06"))["total"] == 1


@pytest.mark.parametrize(("strings", "kind"), [(False, {int, float}), (True, {str})])
async def test_amounts_as_strings(open_shop: Any, strings: bool, kind: set[type]) -> None:
    """Amounts are numbers or text."""
    asker = await open_shop(amounts_as_strings=strings)
    rows = await asker.walk("/order", include="products.offer,expenses")
    assert {type(row["grand_total"]) for row in rows} == kind
    assert {type(line["price_sold"]) for row in rows for line in row["products"]} == kind
    assert {type(each["amount"]) for row in rows for each in row["expenses"]} <= {int, float, str}
    assert {type(row["max_price"]) for row in await asker.walk("/products")} == kind


@pytest.mark.parametrize("there", [True, False])
async def test_keys_that_may_be_missing(open_shop: Any, there: bool) -> None:
    """The keys last_page, client_id and the ids of lines are present or missing."""
    asker = await open_shop(days=1, last_page_key=there, client_id_key=there, line_id_key=there)
    body = await asker.get("/order", include="products.offer")
    row = body["data"][0]
    assert [("last_page" in body), ("client_id" in row), ("id" in row["products"][0])] == [there] * 3
    assert body["next_page_url"]


@pytest.mark.parametrize(("order", "descends"), [("-id", True), ("id", False)])
async def test_default_sort(open_shop: Any, order: str, descends: bool) -> None:
    """The default sort is newest or oldest first."""
    asker = await open_shop(days=1, default_sort=order)
    ids = [row["id"] for row in (await asker.get("/order"))["data"]]
    assert ids == sorted(ids, reverse=descends)


@pytest.mark.parametrize(("how", "first"), [("ignored", "2024-01-01"), ("all_ignored", "2024-09")])
async def test_second_sort_key(open_shop: Any, how: str, first: str) -> None:
    """A second sort key is ignored alone, or with the whole sort."""
    asker = await open_shop(days=2, second_sort_key=how)
    edits.apply(asker.world, edits.AddOrder(created_at=dt.datetime(2024, 1, 1, tzinfo=dt.UTC)))
    edits.apply(asker.world, edits.AddOrder())
    row = (await asker.get("/order", sort="updated_at,id"))["data"][0]
    assert row["updated_at"].startswith(first)


async def test_limits(open_shop: Any) -> None:
    """Limits out of range are clamped, replaced by the default or refused."""
    clamping = await open_shop(days=1)
    assert (await clamping.get("/order", limit=0))["per_page"] == 15
    one = await open_shop(days=1, limit_under_1="one")
    assert (await one.get("/order", limit=-3))["per_page"] == 1
    strict = await open_shop(days=1, limit_under_1="error", limit_over_50="error")
    assert [(await strict.refused("/order", limit=limit))[0] for limit in (0, 51)] == [422, 422]
    assert (await strict.get("/order", limit=50))["per_page"] == 50


@pytest.mark.parametrize("bumps", [True, False])
async def test_what_moves_updated_at(open_shop: Any, bumps: bool) -> None:
    """An expense and a merge of buyers change the order's updated_at, or do not."""
    asker = await open_shop(days=1, expense_bumps_updated_at=bumps, merge_bumps_updated_at=bumps)
    first, second = (edits.apply(asker.world, edits.AddBuyer(name)) for name in ("Перша", "Друга"))
    id = edits.apply(asker.world, edits.AddOrder(buyer_id=first))
    for edit in (edits.AddExpense(id, Decimal(5)), edits.MergeBuyers(first, second)):
        asker.world.advance(asker.world.now + dt.timedelta(minutes=1))
        before = (await asker.get(f"/order/{id}"))["updated_at"]
        edits.apply(asker.world, edit)
        assert ((await asker.get(f"/order/{id}"))["updated_at"] > before) is bumps
    assert (await asker.get(f"/order/{id}"))["client_id"] == second


@pytest.mark.parametrize(("every", "share"), [(True, 1.0), (False, 0.25)])
async def test_offer_for_every_product(open_shop: Any, every: bool, share: float) -> None:
    """/offers lists the products without variants, or a part of them; orders have their offers always."""
    asker = await open_shop(days=1, offer_for_every_product=every)
    simple = {row["id"] for row in await asker.walk("/products") if not row["has_offers"]}
    listed = {row["product_id"] for row in await asker.walk("/offers")} & simple
    assert abs(len(listed) / len(simple) - share) < 0.06
    rows = (await asker.get("/order", include="products.offer", limit=50))["data"]
    assert any(
        line["offer"] and line["offer"]["product_id"] in simple for row in rows for line in row["products"]
    )
    assert (await asker.get("/offers/stocks"))["total"] == (await asker.get("/offers"))["total"]


@pytest.mark.parametrize(("how", "value"), [("null", None), ("empty", [])])
async def test_no_contacts(open_shop: Any, how: str, value: object) -> None:
    """A card without contacts has null, or an empty list."""
    asker = await open_shop(days=1, no_contacts=how)
    id = edits.apply(asker.world, edits.AddBuyer("Без Контактів"))
    card = await asker.get(f"/buyer/{id}")
    assert (card["phone"], card["email"]) == (value, value)


@pytest.mark.parametrize(("names", "name"), [("alias", "completed"), ("label", "Виконано")])
async def test_builtin_names(open_shop: Any, names: str, name: str) -> None:
    """Built-in statuses have their alias as a name until a user saves a name."""
    asker = await open_shop(days=1, builtin_names=names)
    rows = {row["id"]: row for row in (await asker.get("/order/status", limit=50))["data"]}
    assert (rows[12]["name"], rows[22]["name"]) == (name, "Повернено")


async def test_latency(open_shop: Any) -> None:
    """Delayed answers are correct."""
    asker = await open_shop(days=1, latency_ms=5)
    assert (await asker.get("/order"))["data"]


async def test_time_runs_while_serving(open_shop: Any) -> None:
    """A shop day lasts the real seconds of the setting, and its orders arrive while the shop serves."""
    real = [50.0]
    asker = await open_shop(days=3, day_seconds=10.0, real_clock=lambda: real[0])
    before = await asker.get("/order")
    real[0] += 20.0
    response = await asker.ask("/order")
    assert response.headers["Date"] == "Thu, 05 Sep 2024 21:00:00 GMT"
    assert (await response.json())["total"] > before["total"] + 50


@pytest.mark.parametrize(
    "wrong",
    [
        {"stamps": "iso"},
        {"port": 70000},
        {"status_bumps_updated_at": 1.5},
        {"days": -1},
        {"start": "перше"},
        {"colour": "red"},
        {"limit_over_50": "cut"},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    """Decoding refuses an invalid value and an unknown key."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, Sandbox)


def test_settings_decode_from_text() -> None:
    """Dates can be text."""
    assert msgspec.convert({"start": "2024-09-01"}, Sandbox) == Sandbox()
