"""The truth, which is written without the API, equals the data of the API."""

from decimal import Decimal
from typing import Any

from ingest.sandbox import edits


def instant(text: str) -> str:
    """Return a time of the API in the truth's format."""
    return text.removesuffix(".000000Z") + "Z"


def money(value: Any) -> Decimal | None:
    """Return an amount of the API as a decimal."""
    return None if value is None else Decimal(str(value))


async def test_orders_and_lines(open_shop: Any, sixty_days: Any) -> None:
    """The truth has every order, line and expense of the API, and its other orders are deleted."""
    asker = await open_shop(sixty_days)
    shown = {
        row["id"]: row for row in await asker.walk("/order", include="products.offer,manager,buyer,expenses")
    }
    truth = asker.world.truth()
    assert {order.id for order in truth.orders if not order.is_deleted} == set(shown)
    assert any(order.is_deleted for order in truth.orders)
    for order in truth.orders:
        if order.is_deleted:
            continue
        row = shown[order.id]
        assert (order.source_id, order.status_id) == (row["source_id"], row["status_id"])
        assert order.manager_id == (row["manager"] and row["manager"]["id"])
        assert order.buyer_id == (row["buyer"] and row["buyer"]["id"]) == row["client_id"]
        for key in ("ordered_at", "created_at", "updated_at", "status_changed_at"):
            assert getattr(order, key) == instant(row[key])
        assert Decimal(order.grand_total) == money(row["grand_total"])
        assert [
            (line.id, line.product_id, line.name, Decimal(line.price_sold), Decimal(line.quantity))
            for line in order.lines
        ] == [
            (
                line["id"],
                line["offer"] and line["offer"]["product_id"],
                line["name"],
                money(line["price_sold"]),
                money(line["quantity"]),
            )
            for line in row["products"]
        ]
        assert [(each.id, Decimal(each.amount), each.status) for each in order.expenses] == [
            (each["id"], money(each["amount"]), each["status"]) for each in row["expenses"]
        ]


async def test_lists(open_shop: Any, sixty_days: Any) -> None:
    """Products with their brands, buyers, managers and reference lists are equal."""
    asker = await open_shop(sixty_days)
    truth = asker.world.truth()
    shown = {}
    for row in await asker.walk("/products", include="custom_fields"):
        brands = [field["value"] for field in row["custom_fields"] if field["uuid"] == "CT_1001"]
        shown[row["id"]] = (row["name"], row["category_id"], brands[0][0] if brands and brands[0] else None)
    assert shown == {each.id: (each.name, each.category_id, each.brand) for each in truth.products}
    assert None in [each.brand for each in truth.products]
    for path, named, key in (
        ("/buyer", truth.buyers, "full_name"),
        ("/users", truth.managers, "full_name"),
        ("/products/categories", truth.categories, "name"),
        ("/order/source", truth.sources, "name"),
        ("/order/expense-type", truth.expense_types, "name"),
    ):
        assert {row["id"]: row[key] for row in await asker.walk(path)} == {
            each.id: each.name for each in named
        }
    listed = {row["id"] for row in await asker.walk("/order/status")}
    assert {each.id for each in truth.statuses} - listed == {25}


async def test_lines_of_a_removed_product(open_shop: Any) -> None:
    """If a product is removed, its lines retain their name and lose their product, on both sides."""
    asker = await open_shop()
    order = next(order for order in asker.world.store.orders if order.lines[0].product_id)
    edits.apply(asker.world, edits.EditProduct(order.lines[0].product_id, is_removed=True))
    line = (await asker.get(f"/order/{order.id}", include="products.offer"))["products"][0]
    truth = asker.world.truth().orders[order.id - 1].lines[0]
    assert (line["offer"], line["name"]) == (None, truth.name)
    assert truth.product_id is None
    assert (await asker.ask(f"/products/{order.lines[0].product_id}")).status == 404
