"""The truth: the shop's records, written without the API.

Tests compare it with data that was read through the API. Money and quantities are decimal text
("1464.90", "0.5"), times are ISO in UTC ("2026-03-05T12:20:31Z").
"""

import msgspec

from ingest.sandbox.records import Expense, Line, Order, Product
from ingest.sandbox.stamps import plain
from ingest.sandbox.store import Store


class TrueLine(msgspec.Struct, frozen=True):
    """One line of an order; product_id is None if the catalogue does not have the product (any more)."""

    id: int
    product_id: int | None
    offer_id: int | None
    name: str
    price: str
    price_sold: str
    quantity: str
    purchased_price: str | None


class TrueExpense(msgspec.Struct, frozen=True):
    """One expense of an order."""

    id: int
    expense_type_id: int
    amount: str
    status: str
    payment_date: str | None


class TrueOrder(msgspec.Struct, frozen=True):
    """One order in its current state; a deleted one has its last state."""

    id: int
    source_id: int
    status_id: int
    manager_id: int | None
    buyer_id: int | None
    ordered_at: str
    created_at: str
    updated_at: str
    status_changed_at: str
    grand_total: str
    is_deleted: bool
    lines: list[TrueLine]
    expenses: list[TrueExpense]


class TrueProduct(msgspec.Struct, frozen=True):
    """One product that the catalogue lists."""

    id: int
    name: str
    category_id: int | None
    brand: str | None
    is_archived: bool


class Named(msgspec.Struct, frozen=True):
    """An id and its name."""

    id: int
    name: str | None


class Truth(msgspec.Struct, frozen=True):
    """All records at one time."""

    now: str
    orders: list[TrueOrder]
    products: list[TrueProduct]
    buyers: list[Named]
    managers: list[Named]
    categories: list[Named]
    sources: list[Named]
    statuses: list[Named]
    expense_types: list[Named]


def truth(store: Store, at: int) -> Truth:
    """Return the records of ``store`` at ``at``, without merged buyers and removed products."""
    return Truth(
        _instant(at),
        [_order(store, order) for order in store.orders],
        [_product(each) for each in store.shelves.products.values() if not each.is_removed],
        [Named(buyer.id, buyer.full_name) for buyer in store.buyers if not buyer.merged_into],
        [
            Named(each.id, " ".join(filter(None, (each.first_name, each.last_name))))
            for each in store.managers.values()
        ],
        [Named(each.id, each.name) for each in store.shelves.categories.values()],
        [Named(each.id, each.name) for each in store.sources.values()],
        [Named(each.id, each.name) for each in store.statuses.values()],
        [Named(each.id, each.name) for each in store.expense_types.values()],
    )


def _order(store: Store, order: Order) -> TrueOrder:
    return TrueOrder(
        order.id,
        order.source_id,
        order.status_id,
        order.manager_id or None,
        order.buyer_id or None,
        _instant(order.ordered_at),
        _instant(order.created_at),
        _instant(order.updated_at),
        _instant(order.status_changed_at),
        _hryvnias(order.grand_total),
        bool(order.deleted_at),
        [_line(store, line) for line in order.lines],
        [_expense(expense) for expense in order.expenses],
    )


def _line(store: Store, line: Line) -> TrueLine:
    product = store.shelves.products.get(line.product_id)
    gone = product is None or product.is_removed
    return TrueLine(
        line.id,
        None if gone else line.product_id,
        None if gone else line.offer_id,
        line.name,
        _hryvnias(line.price),
        _hryvnias(line.price_sold),
        _units(line.quantity),
        None if line.cost is None else _hryvnias(line.cost),
    )


def _expense(expense: Expense) -> TrueExpense:
    date = _instant(expense.payment_date) if expense.payment_date else None
    return TrueExpense(expense.id, expense.type_id, _hryvnias(expense.amount), expense.status, date)


def _product(product: Product) -> TrueProduct:
    return TrueProduct(
        product.id, product.name, product.category_id or None, product.brand, product.is_archived
    )


def _instant(at: int) -> str:
    return plain(at).replace(" ", "T") + "Z"


def _hryvnias(kopecks: int) -> str:
    return f"{'-' if kopecks < 0 else ''}{abs(kopecks) // 100}.{abs(kopecks) % 100:02}"


def _units(thousandths: int) -> str:
    whole, rest = divmod(thousandths, 1000)
    return f"{whole}.{rest:03}".rstrip("0") if rest else str(whole)
