"""Edits of orders: their totals, lines and expenses."""

from decimal import Decimal

from msgspec.structs import replace

from ingest.sandbox import money
from ingest.sandbox.edits.kinds import (
    AddExpense,
    AddLine,
    AddOrder,
    EditExpense,
    EditLine,
    EditOrder,
    NewLine,
    RemoveExpense,
    RemoveLine,
)
from ingest.sandbox.records import Expense, Line, Order
from ingest.sandbox.stamps import seconds
from ingest.sandbox.world import World


def kopecks(amount: Decimal) -> int:
    """Return an amount of hryvnias in kopecks. Raises ValueError if it has fractions of a kopeck."""
    found = amount * 100
    if found != int(found):
        raise ValueError(f"{amount} hryvnias are not whole kopecks")
    return int(found)


def _line(world: World, new: NewLine) -> Line:
    store = world.store
    id, store.next_line = store.next_line, store.next_line + 1
    price, name, product_id, cost = kopecks(new.price), new.name, 0, new.purchased_price
    if new.offer_id:
        if not 1 <= new.offer_id <= len(store.shelves.offers):
            raise KeyError(f"offer {new.offer_id} does not exist")
        offer = store.shelves.offers[new.offer_id - 1]
        product_id, name = offer.product_id, store.shelves.products[offer.product_id].name
    sold = money.sold_at(price, percent=new.discount_percent, amount=0, loyalty=0)
    bought = None if cost is None else kopecks(cost)
    quantity = int(new.quantity * 1000)
    return Line(
        id, product_id, new.offer_id or 0, name, price, sold, new.discount_percent, 0, 0, bought, quantity,
        world.at, world.at,
    )  # fmt: skip


def add_order(world: World, edit: AddOrder) -> int:
    """Enter an order and return its id."""
    store, at = world.store, world.at
    _check(world, edit.manager_id, edit.status_id)
    created = seconds(edit.created_at) if edit.created_at else at
    ordered = seconds(edit.ordered_at) if edit.ordered_at else created
    updated = seconds(edit.updated_at) if edit.updated_at else created
    lines = tuple(_line(world, line) for line in edit.lines)
    order = Order(
        len(store.orders) + 1, edit.source_id, created, ordered, updated, 1, created, edit.buyer_id or 0,
        edit.manager_id or 0, lines, comment=edit.comment,
        discount_percent=edit.discount_percent, discount_amount=kopecks(edit.discount_amount),
    )  # fmt: skip
    money.settle(order, extras=world.settings.extras_in_total)
    store.add_order(order)
    if edit.status_id != 1:
        store.set_status(order, edit.status_id, at=updated, bump=False)
    return order.id


def edit_order(world: World, edit: EditOrder) -> int:
    """Change an order and return its id."""
    store = world.store
    order = store.order(edit.order_id)
    _check(world, edit.manager_id, order.status_id)
    if edit.ordered_at is not None:
        store.move_ordered(order, seconds(edit.ordered_at))
    if edit.buyer_id is not None:
        _hand_over(world, order, edit.buyer_id)
    order.comment = order.comment if edit.comment is None else edit.comment
    order.manager_id = order.manager_id if edit.manager_id is None else edit.manager_id
    order.source_id = order.source_id if edit.source_id is None else edit.source_id
    if edit.grand_total is not None:
        order.discount_percent = order.discount_amount = 0
        order.shipping_price = order.wrap_price = order.taxes = None
        store.settle(order)
        less = order.products_total - kopecks(edit.grand_total)
        if less < 0 and not world.settings.extras_in_total:
            raise ValueError(f"order {order.id}: a total above its lines needs extras_in_total")
        order.discount_amount, order.taxes = max(less, 0), -less if less < 0 else None
        store.settle(order)
    _changed(world, order, bump=edit.bump)
    return order.id


def _check(world: World, manager_id: int | None, status_id: int) -> None:
    """Raise KeyError if the manager or the status does not exist."""
    if manager_id and manager_id not in world.store.managers:
        raise KeyError(f"manager {manager_id} does not exist")
    if status_id not in world.store.statuses:
        raise KeyError(f"status {status_id} does not exist")


def _hand_over(world: World, order: Order, buyer_id: int) -> None:
    if order.buyer_id:
        world.store.buyer(order.buyer_id).order_ids.remove(order.id)
    if buyer_id:
        world.store.buyer(buyer_id).order_ids.append(order.id)
    order.buyer_id = buyer_id


def _changed(world: World, order: Order, *, bump: bool) -> None:
    world.store.revision += 1
    if bump:
        world.store.touch(order, world.at)


def edit_lines(world: World, edit: AddLine | EditLine | RemoveLine) -> int:
    """Change an order's lines and return the id of the line."""
    order = world.store.order(edit.order_id)
    if isinstance(edit, AddLine):
        lines = (*order.lines, _line(world, edit.line))
        id = lines[-1].id
    else:
        id = edit.line_id
        if id not in [line.id for line in order.lines]:
            raise KeyError(f"order {order.id} has no line {id}")
        lines = tuple(
            _edited(line, edit, world.at) if isinstance(edit, EditLine) and line.id == id else line
            for line in order.lines
            if isinstance(edit, EditLine) or line.id != id
        )
    world.store.set_lines(order, lines)
    _changed(world, order, bump=edit.bump)
    return id


def _edited(line: Line, edit: EditLine, at: int) -> Line:
    price = line.price if edit.price is None else kopecks(edit.price)
    return replace(
        line,
        price=price,
        price_sold=money.sold_at(
            price, percent=line.discount_percent, amount=line.discount_amount, loyalty=line.loyalty
        ),
        quantity=line.quantity if edit.quantity is None else int(edit.quantity * 1000),
        name=line.name if edit.name is None else edit.name,
        updated_at=at,
    )


def edit_expenses(world: World, edit: AddExpense | EditExpense | RemoveExpense) -> int:
    """Change an order's expenses and return the id of the expense."""
    store, at = world.store, world.at
    order = store.order(edit.order_id)
    if isinstance(edit, AddExpense):
        id, store.next_expense = store.next_expense, store.next_expense + 1
        new = Expense(id, edit.expense_type_id, kopecks(edit.amount), edit.status, at, at, at)
        expenses = (*order.expenses, new)
    else:
        id = edit.expense_id
        if id not in [expense.id for expense in order.expenses]:
            raise KeyError(f"order {order.id} has no expense {id}")
        expenses = tuple(
            _revised(each, edit, at) if isinstance(edit, EditExpense) and each.id == id else each
            for each in order.expenses
            if isinstance(edit, EditExpense) or each.id != id
        )
    store.set_expenses(order, expenses, at=at)
    return id


def _revised(expense: Expense, edit: EditExpense, at: int) -> Expense:
    amount = expense.amount if edit.amount is None else kopecks(edit.amount)
    return replace(expense, amount=amount, status=edit.status or expense.status, updated_at=at)
