"""Recomputation: the values of gold, computed from the shop's own state in plain Python.

It uses no DuckDB, no SQL and no code of the transform. The definitions of the shop's numbers are
written again with decimals and the time zones of the standard library.
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
    """Return the sales type of an order."""
    if order.manager_id in (22, 4, 16) or (order.manager_id is None and order.source_id == 4):
        return "retail"
    return "b2b" if order.manager_id == 15 else "other"


def is_return(order: TrueOrder) -> bool:
    """Return True if an order is a return."""
    return order.status_id in (19, 21, 22, 23)


def counted(truth: Truth) -> Iterator[TrueOrder]:
    """Yield the orders that are not deleted and whose source is not excluded."""
    return (order for order in truth.orders if not order.is_deleted and order.source_id != 3)


def revenue_daily(truth: Truth) -> Daily:
    """Return ``{(day, sales type): (revenue, orders, average check)}``."""
    totals: dict[tuple[date, str], list[Decimal]] = defaultdict(list)
    for order in counted(truth):
        if not is_return(order):
            totals[day_of(order), sales_type(order)].append(Decimal(order.grand_total))
    return {cell: (sum(found, Decimal()), len(found), mean(found)) for cell, found in totals.items()}


def mean(amounts: list[Decimal]) -> Decimal:
    """Return the average in kopecks, rounded half away from zero."""
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
    """Yield the sold lines with their orders, without returns."""
    return ((order, line) for order in counted(truth) if not is_return(order) for line in order.lines)
