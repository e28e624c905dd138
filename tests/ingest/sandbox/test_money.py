"""The shop's amounts satisfy the identities of live orders."""

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest

from ingest.sandbox.world import World

CENT = Decimal("0.01")


def decimal(value: Any) -> Decimal:
    """Return an amount of the API as a decimal; null is 0."""
    return Decimal(str(value or 0))


async def rows(open_shop: Any, world: World | None = None, **chosen: Any) -> list[Any]:
    """Return all orders with the relations that the sums need."""
    asker = await open_shop(world, **chosen)
    found: list[Any] = await asker.walk("/order", include="products.offer,expenses,payments,buyer")
    return found


async def test_identities(open_shop: Any, sixty_days: World) -> None:
    """Lines, discounts, extras, costs and payments of every order add up."""
    for order in await rows(open_shop, sixty_days):
        for line in order["products"]:
            percent = decimal(line["discount_percent"]) + decimal(line["loyalty_discount"])
            off = (decimal(line["price"]) * percent / 100).quantize(CENT, ROUND_HALF_UP)
            assert decimal(line["total_discount"]) == off + decimal(line["discount_amount"])
            assert decimal(line["price_sold"]) == decimal(line["price"]) - decimal(line["total_discount"])
        sold = sum(decimal(line["price_sold"]) * decimal(line["quantity"]) for line in order["products"])
        assert decimal(order["products_total"]) == sold
        assert sold == Decimal(sold).quantize(CENT)
        off = (sold * decimal(order["discount_percent"]) / 100).quantize(CENT, ROUND_HALF_UP)
        assert decimal(order["total_discount"]) == off + decimal(order["discount_amount"])
        extras = sum(decimal(order[key]) for key in ("shipping_price", "wrap_price", "taxes"))
        assert decimal(order["grand_total"]) == sold - decimal(order["total_discount"]) + extras
        spent = sum(decimal(each["amount"]) for each in order["expenses"] if each["status"] != "canceled")
        assert decimal(order["expenses_sum"]) == spent
        cost = sum(decimal(line["purchased_price"]) * decimal(line["quantity"]) for line in order["products"])
        margin = decimal(order["grand_total"]) - cost - spent
        assert abs(decimal(order["margin_sum"]) - margin) < CENT
        assert decimal(order["payments_total"]) == sum(decimal(each["amount"]) for each in order["payments"])


async def test_payment_status_follows_the_payments(open_shop: Any, sixty_days: World) -> None:
    """The payment status matches the payments."""
    seen = set()
    for order in await rows(open_shop, sixty_days):
        paid, due = decimal(order["payments_total"]), decimal(order["grand_total"])
        expected = (
            "paid" if paid == due else "overpaid" if paid > due else "part_paid" if paid else "not_paid"
        )
        assert order["payment_status"] == expected
        seen.add(expected)
    assert {"paid", "part_paid", "not_paid"} <= seen


async def test_a_buyers_sum_is_that_of_their_orders(open_shop: Any) -> None:
    """The sums in an order's buyer and on the buyer's card equal those of the orders."""
    asker = await open_shop()
    orders = await rows(open_shop, asker.world)
    sums: dict[int, Decimal] = {}
    for order in orders:
        if order["buyer"]:
            sums[order["client_id"]] = sums.get(order["client_id"], Decimal(0)) + decimal(
                order["grand_total"]
            )
    for order in orders:
        if order["buyer"]:
            assert decimal(order["buyer"]["orders_sum"]) == sums[order["buyer"]["id"]]
    cards = {card["id"]: card for card in await asker.walk("/buyer")}
    assert all(decimal(cards[id]["orders_sum"]) == total for id, total in sums.items())


@pytest.mark.parametrize("included", [True, False])
async def test_extras_in_total(open_shop: Any, included: bool) -> None:
    """A setting decides if shipping, wrapping and taxes are part of the total."""
    found = await rows(open_shop, extras_in_total=included)
    gaps = {
        decimal(order["grand_total"]) - decimal(order["products_total"]) + decimal(order["total_discount"])
        for order in found
        if decimal(order["shipping_price"]) > 0
    }
    assert gaps
    assert (gaps == {Decimal(0)}) is not included


@pytest.mark.parametrize("net", [True, False])
async def test_margin_less_expenses(open_shop: Any, net: bool) -> None:
    """A setting decides if expenses are subtracted from the margin."""
    for order in await rows(open_shop, margin_less_expenses=net):
        if decimal(order["expenses_sum"]) and not any(line["quantity"] % 1 for line in order["products"]):
            cost = sum(decimal(line["purchased_price"]) * line["quantity"] for line in order["products"])
            margin = decimal(order["grand_total"]) - cost
            assert decimal(order["margin_sum"]) == margin - (decimal(order["expenses_sum"]) if net else 0)
