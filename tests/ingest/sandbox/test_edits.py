"""Edits by hand are visible in the API immediately, and change nothing else."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from ingest.sandbox import edits
from ingest.sandbox.edits import NewLine
from ingest.sandbox.stamps import moment, zulu

EVERYTHING = "buyer,products.offer,manager,status,expenses"
AT = dt.datetime(2024, 8, 30, 21, 30, tzinfo=dt.UTC)


@pytest.fixture
async def asker(open_shop: Any) -> Any:
    """Return a shop for each test, with an order that has no planned steps."""
    asker = await open_shop(days=5)
    asker.order_id = edits.apply(
        asker.world,
        edits.AddOrder(
            manager_id=22,
            lines=(NewLine(offer_id=4, price=Decimal(200), quantity=Decimal(2)), NewLine(name="Листівка")),
        ),
    )
    asker.world.advance(asker.world.now + dt.timedelta(minutes=1))
    return asker


async def order(asker: Any) -> Any:
    """Return the order with all its relations."""
    return await asker.get(f"/order/{asker.order_id}", include=EVERYTHING)


async def test_a_new_order(asker: Any) -> None:
    """Fields that an edit leaves out have their defaults, and the others have its values."""
    row = await order(asker)
    assert (row["grand_total"], row["source_id"], row["manager"]["id"]) == (500, 1, 22)
    assert [line["quantity"] for line in row["products"]] == [2, 1]
    assert row["products"][0]["offer"]["id"] == 4
    assert row["products"][1]["offer"] is None
    assert (await asker.get("/order"))["data"][0]["id"] == asker.order_id


async def test_an_order_from_before(asker: Any) -> None:
    """An order may have been created in the past, and lists by creation contain it there."""
    id = edits.apply(
        asker.world, edits.AddOrder(created_at=AT, ordered_at=AT - dt.timedelta(days=40), status_id=12)
    )
    row = await asker.get(f"/order/{id}")
    assert (row["created_at"], row["updated_at"]) == ("2024-08-30T21:30:00.000000Z",) * 2
    assert (row["ordered_at"], row["status_id"]) == ("2024-07-21T21:30:00.000000Z", 12)
    span = "2024-08-30 00:00:00,2024-08-31 00:00:00"
    for sort in ("id", "updated_at"):
        found = (await asker.get("/order", filter_created_between=span, sort=sort))["data"]
        assert [row["id"] for row in found] == [id]


@pytest.mark.parametrize("bump", [True, False])
async def test_status(asker: Any, bump: bool) -> None:
    """A status always changes status_changed_at, and updated_at only if requested."""
    before, now = await order(asker), zulu(asker.world.at)
    edits.apply(asker.world, edits.SetStatus(asker.order_id, 22, bump=bump))
    row = await order(asker)
    assert (row["status_id"], row["status_group_id"], row["status"]["id"]) == (22, 6, 22)
    assert row["status_changed_at"] == now
    assert row["updated_at"] == (now if bump else before["updated_at"])
    assert row["closed_at"]


@pytest.mark.parametrize(
    ("total", "discount", "taxes"), [("123.45", 376.55, None), ("600", 0, 100), ("0", 500, None)]
)
async def test_total(asker: Any, total: str, discount: float, taxes: float | None) -> None:
    """A lower total is a discount and a higher one a tax; the lines do not change."""
    edits.apply(asker.world, edits.EditOrder(asker.order_id, grand_total=Decimal(total), comment="інакше"))
    row = await order(asker)
    assert Decimal(str(row["grand_total"])) == Decimal(total)
    assert (row["products_total"], row["total_discount"], row["taxes"]) == (500, discount, taxes)
    assert (row["manager_comment"], row["updated_at"]) == ("інакше", zulu(asker.world.at))


async def test_day_manager_source_and_buyer(asker: Any) -> None:
    """An edit can change the order's day, manager, channel and buyer, with or without its updated_at."""
    buyer_id = edits.apply(asker.world, edits.AddBuyer("Нова Картка"))
    before = await order(asker)
    edits.apply(
        asker.world,
        edits.EditOrder(
            asker.order_id, ordered_at=AT, manager_id=15, source_id=2, buyer_id=buyer_id, bump=False
        ),
    )
    row = await order(asker)
    assert row["ordered_at"] == "2024-08-30T21:30:00.000000Z"
    assert (row["manager"]["id"], row["source_id"], row["buyer"]["full_name"]) == (15, 2, "Нова Картка")
    assert row["buyer"]["orders_count"] == 1
    assert row["updated_at"] == before["updated_at"]


async def test_lines(asker: Any) -> None:
    """Lines can be added, changed and removed by id, and the total follows."""
    first = (await order(asker))["products"][0]["id"]
    added = edits.apply(asker.world, edits.AddLine(asker.order_id, NewLine(price=Decimal("10.50"))))
    assert (await order(asker))["grand_total"] == 510.5
    edits.apply(
        asker.world, edits.EditLine(asker.order_id, first, quantity=Decimal("0.5"), name="Інша назва")
    )
    row = await order(asker)
    assert [line["id"] for line in row["products"]][::2] == [first, added]
    assert (row["grand_total"], row["products"][0]["quantity"], row["products"][0]["name"]) == (
        210.5,
        0.5,
        "Інша назва",
    )
    assert row["products"][0]["updated_at"] == zulu(asker.world.at)
    before = row["updated_at"]
    asker.world.advance(asker.world.now + dt.timedelta(seconds=5))
    edits.apply(asker.world, edits.RemoveLine(asker.order_id, first, bump=False))
    row = await order(asker)
    assert (row["grand_total"], len(row["products"]), row["updated_at"]) == (110.5, 2, before)
    with pytest.raises(KeyError):
        edits.apply(asker.world, edits.RemoveLine(asker.order_id, first))


async def test_delete_and_restore(asker: Any) -> None:
    """A deleted order is in no list and 404; after a restore it is unchanged."""
    before, total = await order(asker), (await asker.get("/order"))["total"]
    edits.apply(asker.world, edits.DeleteOrder(asker.order_id))
    assert (await asker.ask(f"/order/{asker.order_id}")).status == 404
    for sort in ("id", "updated_at"):
        rows = await asker.walk("/order", sort=sort)
        assert asker.order_id not in [row["id"] for row in rows]
        assert len(rows) == total - 1
    assert asker.world.truth().orders[asker.order_id - 1].is_deleted
    edits.apply(asker.world, edits.RestoreOrder(asker.order_id))
    assert await order(asker) == before
    assert (await asker.get("/order"))["total"] == total


async def test_expenses(asker: Any) -> None:
    """Expenses can be added, changed, cancelled and removed; the sum excludes cancelled ones."""
    one = edits.apply(asker.world, edits.AddExpense(asker.order_id, Decimal("95.50"), expense_type_id=3))
    two = edits.apply(asker.world, edits.AddExpense(asker.order_id, Decimal(10), status="not_paid"))
    assert (await order(asker))["expenses_sum"] == 105.5
    edits.apply(asker.world, edits.EditExpense(asker.order_id, two, amount=Decimal(20)))
    edits.apply(asker.world, edits.EditExpense(asker.order_id, one, status="canceled"))
    row = await order(asker)
    assert row["expenses_sum"] == 20
    assert [(each["id"], each["amount"], each["status"]) for each in row["expenses"]] == [
        (one, 95.5, "canceled"),
        (two, 20, "not_paid"),
    ]
    edits.apply(asker.world, edits.RemoveExpense(asker.order_id, one))
    assert [each["id"] for each in (await order(asker))["expenses"]] == [two]


async def test_merge(asker: Any) -> None:
    """After a merge one card is 404, and its orders and phones belong to the other."""
    loser = edits.apply(asker.world, edits.AddBuyer("Оля", phones=("+380000000777",)))
    survivor = edits.apply(asker.world, edits.AddBuyer("Оля О."))
    edits.apply(asker.world, edits.EditOrder(asker.order_id, buyer_id=loser))
    edits.apply(asker.world, edits.MergeBuyers(loser, survivor))
    assert (await asker.ask(f"/buyer/{loser}")).status == 404
    assert (await order(asker))["buyer"]["id"] == survivor
    card = await asker.get(f"/buyer/{survivor}")
    assert (card["phone"], card["orders_count"]) == (["+380000000777"], 1)
    assert loser not in [row["id"] for row in await asker.walk("/buyer")]
    found = (await asker.get("/order", filter_buyer_phone="+380000000777"))["data"]
    assert [row["id"] for row in found] == [asker.order_id]


@pytest.mark.parametrize(
    ("what", "id", "path", "key"),
    [
        ("buyer", 2, "/buyer", "full_name"),
        ("product", 2, "/products", "name"),
        ("category", 2, "/products/categories", "name"),
        ("manager", 22, "/users", "full_name"),
        ("source", 4, "/order/source", "name"),
        ("status", 12, "/order/status", "name"),
        ("expense_type", 1, "/order/expense-type", "name"),
    ],
)
async def test_names(asker: Any, what: Any, id: int, path: str, key: str) -> None:
    """Every kind of record that has a name can be renamed."""
    before = {row["id"]: row for row in await asker.walk(path)}
    edits.apply(asker.world, edits.Rename(what, id, "Інакше"))
    after = {row["id"]: row for row in await asker.walk(path)}
    assert after.pop(id)[key] == "Інакше"
    before.pop(id)
    assert after == before


async def test_goods(asker: Any) -> None:
    """Price, cost, brand, category, archive and stock of a product can change; lines already sold do not."""
    product_id = (await order(asker))["products"][0]["offer"]["product_id"]
    edit = edits.EditProduct(
        product_id, price=Decimal(999), cost=Decimal("1.01"), brand="Інша", category_id=5, is_archived=True
    )
    edits.apply(asker.world, edit)
    edits.apply(asker.world, edits.SetStock(4, Decimal(7)))
    product = await asker.get(f"/products/{product_id}", include="custom_fields")
    assert (product["max_price"], product["category_id"], product["is_archived"]) == (999, 5, True)
    assert ["Інша"] in [field["value"] for field in product["custom_fields"]]
    line = (await order(asker))["products"][0]
    assert (line["price"], line["offer"]["price"], line["offer"]["purchased_price"]) == (200, 999, 1.01)
    assert (await asker.get("/offers/stocks", filter_offers_id="4"))["data"][0]["quantity"] == 7
    edits.apply(asker.world, edits.EditProduct(product_id, brand="", category_id=0))
    product = await asker.get(f"/products/{product_id}", include="custom_fields")
    assert product["category_id"] is None
    assert [] in [field["value"] for field in product["custom_fields"]]


async def test_new_status_source_and_manager(asker: Any) -> None:
    """An order can use a new status, channel and manager immediately."""
    for edit in (
        edits.AddStatus(31, "Новий шлях"),
        edits.AddSource(6, "Ринок"),
        edits.AddManager(40, "Новий"),
    ):
        edits.apply(asker.world, edit)
    edits.apply(asker.world, edits.SetStatus(asker.order_id, 31))
    edits.apply(asker.world, edits.EditOrder(asker.order_id, source_id=6, manager_id=40))
    row = await order(asker)
    assert (row["status"]["name"], row["source_id"], row["manager"]["full_name"]) == (
        "Новий шлях",
        6,
        "Новий",
    )
    assert "Ринок" in [each["name"] for each in await asker.walk("/order/source")]


@pytest.mark.parametrize(
    "edit",
    [
        edits.SetStatus(999_999, 12),
        edits.SetStatus(1, 999),
        edits.AddOrder(manager_id=999),
        edits.AddOrder(lines=(NewLine(offer_id=99_999),)),
        edits.EditExpense(1, 999_999),
        edits.MergeBuyers(999_999, 1),
    ],
)
async def test_unknown_ids_are_refused(asker: Any, edit: edits.Edit) -> None:
    """An edit of an unknown id is refused."""
    with pytest.raises(KeyError):
        edits.apply(asker.world, edit)


def test_parts_of_a_kopeck_are_refused(two_years: Any) -> None:
    """Amounts with fractions of a kopeck are refused."""
    with pytest.raises(ValueError, match="whole kopecks"):
        edits.apply(two_years, edits.AddExpense(1, Decimal("1.005")))


async def test_history_continues_after_an_edit(asker: Any) -> None:
    """After an edit the shop's clock and planned steps continue."""
    before = len(asker.world.store.orders)
    asker.world.advance(moment(asker.world.at + 5 * 86_400))
    assert len(asker.world.store.orders) > before + 100
    assert (await order(asker))["status_id"] == 1
