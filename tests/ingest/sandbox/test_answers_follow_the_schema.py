"""Every answer follows the official schema, which is corrected by live responses."""

from collections.abc import Callable
from typing import Any

import pytest

Check = Callable[[str, Any], None]
ORDER_RELATIONS = (
    "buyer", "products", "products.offer", "manager", "tags", "status", "marketing", "payments", "expenses",
    "shipping", "shipping.lastHistory", "shipping.deliveryService", "custom_fields", "assigned",
    "attachments",
)  # fmt: skip
ROUTES = (
    ("/order", "Order", ORDER_RELATIONS),
    ("/buyer", "Buyer", ("manager", "shipping", "company", "loyalty", "custom_fields")),
    ("/products", "Product", ("custom_fields",)),
    ("/products/categories", "Category", ()),
    ("/users", "User", ()),
    ("/order/source", "Source", ()),
    ("/order/status", "Status", ()),
    ("/order/expense-type", "ExpenseType", ()),
    ("/order/payment-method", "PaymentMethod", ()),
    ("/order/tag", "Tag", ()),
    ("/order/delivery-service", "DeliveryService", ()),
    ("/offers", "Offer", ("product",)),
    ("/offers/stocks", "Stock", ()),
)


async def walked(
    asker: Any, official: Check, path: str, name: str, *, most: int = 500, **asked: object
) -> list[Any]:
    """Read a list page by page and check its envelopes and rows against the schema."""
    rows: list[Any] = []
    page = 1
    while len(rows) < most:
        body = await asker.get(path, limit=50, page=page, **asked)
        official("Envelope", body)
        if not body["data"]:
            break
        for row in body["data"]:
            official(name, row)
        rows += body["data"]
        page += 1
    return rows


@pytest.mark.parametrize(("path", "name", "relations"), ROUTES)
async def test_plain_rows_have_no_relation(
    open_shop: Any, official: Check, sixty_days: Any, path: str, name: str, relations: tuple[str, ...]
) -> None:
    """A row has no relation that the request did not include, on any route."""
    asker = await open_shop(sixty_days)
    rows = await walked(asker, official, path, name)
    assert rows
    for relation in relations:
        assert not any(relation.split(".")[0] in row for row in rows)


@pytest.mark.parametrize(
    ("path", "name", "relation"),
    [(path, name, relation) for path, name, relations in ROUTES for relation in relations],
)
async def test_each_relation_comes_when_asked_for(
    open_shop: Any, official: Check, sixty_days: Any, path: str, name: str, relation: str
) -> None:
    """Each include adds its relation, and no other, to every row."""
    asker = await open_shop(sixty_days)
    rows = await walked(asker, official, path, name, most=150, include=relation)
    assert rows
    assert all(relation.split(".")[0] in row for row in rows)


async def test_orders_with_everything(open_shop: Any, official: Check, sixty_days: Any) -> None:
    """Every order of two months, edge cases included, is valid with all relations."""
    asker = await open_shop(sixty_days)
    rows = await walked(asker, official, "/order", "Order", most=1200, include=",".join(ORDER_RELATIONS))
    lines = [line for row in rows for line in row["products"]]
    assert all("offer" in line for line in lines)
    assert {True, False} == {line["offer"] is None for line in lines}
    assert {True, False} == {row["buyer"] is None for row in rows}
    assert {True, False} == {row["manager"] is None for row in rows}


async def test_single_records(open_shop: Any, official: Check, sixty_days: Any) -> None:
    """An order, a buyer and a product by id are plain objects, equal to those in their lists."""
    asker = await open_shop(sixty_days)
    for path, name, include in (("/order", "Order", "buyer,products.offer"), ("/buyer", "Buyer", "loyalty")):
        row = (await asker.get(path, limit=1, include=include))["data"][0]
        one = await asker.get(f"{path}/{row['id']}", include=include)
        official(name, one)
        assert one == row
    official("Product", await asker.get("/products/3", include="custom_fields"))


async def test_stock_by_warehouse_adds_up(open_shop: Any, official: Check, sixty_days: Any) -> None:
    """The stock by warehouse adds up to the stock of the offer."""
    asker = await open_shop(sixty_days)
    for row in await walked(asker, official, "/offers/stocks", "Stock", filter_details="true"):
        assert row["quantity"] == sum(part["quantity"] for part in row["warehouse"])
        assert row["reserve"] == sum(part["reserve"] for part in row["warehouse"])


async def test_custom_fields_are_a_bare_list(open_shop: Any, official: Check) -> None:
    """The definitions of custom fields are a list without pages."""
    asker = await open_shop()
    for row in await asker.get("/custom-fields", include="options"):
        official("CustomField", row)
        assert "options" in row
    assert [row["uuid"] for row in await asker.get("/custom-fields", filter_model="order")] == ["OR_1001"]


async def test_bare_products_have_no_offer(open_shop: Any) -> None:
    """Without ``products.offer`` a line does not have the id of its product."""
    asker = await open_shop()
    rows = (await asker.get("/order", include="products"))["data"]
    assert not any("offer" in line for row in rows for line in row["products"])


async def test_counts_of_relations(open_shop: Any) -> None:
    """``productsCount`` and ``productsExists`` work without the lines."""
    asker = await open_shop()
    row = await asker.get("/order/5", include="products,productsCount,productsExists,managerExists")
    assert row["products_count"] == len(row["products"])
    assert row["products_exists"] is True
    assert row["manager_exists"] in (True, False)


async def test_amounts_are_written_as_live_responses_write_them(open_shop: Any) -> None:
    """Whole amounts have no fraction, shipping is text, and an empty object is a list."""
    asker = await open_shop()
    rows = await asker.walk("/order")
    assert {int, float} == {type(row["grand_total"]) for row in rows}
    assert {str, type(None)} == {type(row["shipping_price"]) for row in rows}
    assert [] in [row["discount_data"] for row in rows]
    assert {None, ""} <= {row["promocode"] for row in rows}
