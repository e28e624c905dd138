"""What gold must say, worked out from the shop's own truth in plain Python.

No DuckDB, no SQL, no code of the transform: the mission's definitions once more, in
decimals and with the standard library's time zones.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from zoneinfo import ZoneInfo

from ingest.sandbox.truth import TrueLine, TrueOrder, Truth

KYIV = ZoneInfo("Europe/Kyiv")
KOPECK = Decimal("0.01")
Daily = dict[tuple[date, str], tuple[Decimal, int, Decimal]]
Product = tuple[date, int | None, str, int | None, str | None]


def day_of(order: TrueOrder) -> date:
    """Return the shop's day of an order."""
    return datetime.fromisoformat(order.ordered_at).astimezone(KYIV).date()


def sales_type(order: TrueOrder) -> str:
    """Return who sold it."""
    if order.manager_id in (22, 4, 16) or (order.manager_id is None and order.source_id == 4):
        return "retail"
    return "b2b" if order.manager_id == 15 else "other"


def is_return(order: TrueOrder) -> bool:
    """True for an order that came back."""
    return order.status_id in (19, 21, 22, 23)


def counted(truth: Truth) -> Iterator[TrueOrder]:
    """Yield the orders that are there and of a source that counts."""
    return (order for order in truth.orders if not order.is_deleted and order.source_id != 3)


def revenue_daily(truth: Truth) -> Daily:
    """Return ``{(day, sales type): (revenue, orders, average check)}``."""
    totals: dict[tuple[date, str], list[Decimal]] = defaultdict(list)
    for order in counted(truth):
        if not is_return(order):
            totals[day_of(order), sales_type(order)].append(Decimal(order.grand_total))
    return {cell: (sum(found, Decimal()), len(found), mean(found)) for cell, found in totals.items()}


def mean(amounts: list[Decimal]) -> Decimal:
    """Return the average to the kopeck, half away from zero."""
    return (sum(amounts, Decimal()) / len(amounts)).quantize(KOPECK, ROUND_HALF_UP)


def product_daily(truth: Truth) -> dict[Product, tuple[Decimal, Decimal]]:
    """Return ``{(day, product id, name, category id, brand): (quantity, revenue)}``."""
    catalogue = {product.id: product for product in truth.products}
    cells: dict[Product, tuple[Decimal, Decimal]] = defaultdict(lambda: (Decimal(), Decimal()))
    for order, line in lines(truth):
        product = catalogue.get(line.product_id) if line.product_id is not None else None
        cell = (
            day_of(order),
            line.product_id,
            product.name if product else line.name,
            product.category_id if product else None,
            product.brand if product else None,
        )
        quantity, revenue = cells[cell]
        sold = Decimal(line.quantity)
        cells[cell] = quantity + sold, revenue + Decimal(line.price_sold) * sold
    return dict(cells)


def lines(truth: Truth) -> Iterator[tuple[TrueOrder, TrueLine]]:
    """Yield what was sold and did not come back."""
    return ((order, line) for order in counted(truth) if not is_return(order) for line in order.lines)
