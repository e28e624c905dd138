"""The store: every record of the shop, and the indexes that lists are read from.

The world and the edits change orders and buyers only here, so that the indexes stay correct.
"""

from bisect import bisect_left
from collections.abc import Callable

from ingest.sandbox import money, reference, stock
from ingest.sandbox.catalogue import Shelves
from ingest.sandbox.index import Index, entry
from ingest.sandbox.records import Buyer, Expense, Line, Order, Product
from ingest.sandbox.settings import Sandbox

_ORDER_KEYS: dict[str, Callable[[Order], int]] = {
    "id": lambda order: 0,
    "created_at": lambda order: order.created_at,
    "updated_at": lambda order: order.updated_at,
    "ordered_at": lambda order: order.ordered_at,
}


class Store:
    """Orders and buyers at position id − 1, everything else by id.

    ``revision`` grows with every change, so a result is valid as long as the revision is the same.
    """

    def __init__(self, settings: Sandbox, shelves: Shelves, *, opened: int) -> None:
        self.settings = settings
        self.shelves = shelves
        self.revision = 0
        self.orders: list[Order] = []
        self.buyers: list[Buyer] = []
        self.live_buyers: list[Buyer] = []  # cards that were not merged into another
        self.sources = reference.sources(opened)
        self.statuses = reference.statuses(opened, labels=settings.builtin_names == "label")
        self.managers = reference.managers(opened)
        self.expense_types = reference.expense_types()
        self.by_phone: dict[str, tuple[int, ...]] = {}
        self.next_line = 1
        self.next_expense = 1
        self.in_order = True  # ids ascend with created_at
        self._orders_by: dict[str, Index] = {}

    def order(self, id: int) -> Order:
        """Return the order, even a deleted one. Raises KeyError if it never existed."""
        if not 1 <= id <= len(self.orders):
            raise KeyError(f"order {id} does not exist")
        return self.orders[id - 1]

    def buyer(self, id: int) -> Buyer:
        """Return the buyer's card, even a merged one. Raises KeyError if it never existed."""
        if not 1 <= id <= len(self.buyers):
            raise KeyError(f"buyer {id} does not exist")
        return self.buyers[id - 1]

    def product_of(self, line: Line) -> Product | None:
        """Return the product of a line, or None if the line has no product or the product was removed."""
        product = self.shelves.products.get(line.product_id)
        return None if product is None or product.is_removed else product

    def survivor(self, id: int) -> int:
        """Return the id of the card that has buyer ``id`` after all merges."""
        while merged := self.buyers[id - 1].merged_into:
            id = merged
        return id

    def orders_by(self, stamp: str) -> Index:
        """Return the live orders by ``id``, ``created_at``, ``updated_at`` or ``ordered_at``."""
        index = self._orders_by.get(stamp)
        if index is None:
            key = _ORDER_KEYS[stamp]
            index = Index(entry(key(order), order.id) for order in self.orders if not order.deleted_at)
            self._orders_by[stamp] = index
        return index

    # Orders

    def add_order(self, order: Order) -> None:
        """Add a new order, whose id is the next one; it reserves its goods."""
        self.revision += 1
        if self.orders and order.created_at < self.orders[-1].created_at:
            self.in_order = False
        self.orders.append(order)
        if order.buyer_id:
            buyer = self.buyers[order.buyer_id - 1]
            buyer.order_ids.append(order.id)
            buyer.updated_at = max(buyer.updated_at, order.created_at)
        self._carry(order, stock.RESERVED)
        for line in order.lines:
            if line.offer_id:
                self.shelves.offers[line.offer_id - 1].sold += line.quantity
        if self._orders_by:
            self._enter(order)

    def touch(self, order: Order, at: int) -> None:
        """Record a change of the order at ``at``; its updated_at never decreases."""
        self.revision += 1
        if at > order.updated_at:
            self._move(order, "updated_at", at)
            order.updated_at = at

    def move_ordered(self, order: Order, ordered_at: int) -> None:
        """Change the time of the sale."""
        self.revision += 1
        self._move(order, "ordered_at", ordered_at)
        order.ordered_at = ordered_at

    def set_status(self, order: Order, status_id: int, *, at: int, bump: bool) -> None:
        """Put the order into a status at ``at``; its updated_at changes only if ``bump`` is true."""
        status = self.statuses[status_id]
        order.status_id = status_id
        order.status_changed_at = at
        order.closed_at = at if status.is_closing else 0
        self._carry(order, stock.state_in(status.group_id, order.stock))
        if order.stock == stock.SHIPPED and not order.tracking:
            order.shipped_at = at
            order.tracking = 20_450_000_000_000 + order.id * 7919
        self.revision += 1
        if bump:
            self.touch(order, at)

    def set_lines(self, order: Order, lines: tuple[Line, ...]) -> None:
        """Replace the order's lines, adjust the stock and compute the totals."""
        self.revision += 1
        state = order.stock
        self._carry(order, stock.NONE)
        order.lines = lines
        self._carry(order, state)
        self.settle(order)

    def settle(self, order: Order) -> None:
        """Compute the order's totals."""
        self.revision += 1
        money.settle(order, extras=self.settings.extras_in_total)

    def set_expenses(self, order: Order, expenses: tuple[Expense, ...], *, at: int) -> None:
        """Replace the order's expenses at ``at``."""
        self.revision += 1
        order.expenses = expenses
        if self.settings.expense_bumps_updated_at:
            self.touch(order, at)

    def pay(self, order: Order, *, at: int) -> None:
        """Pay the order in full."""
        self.revision += 1
        order.paid, order.paid_at = order.grand_total, at

    def delete(self, order: Order, *, at: int) -> None:
        """Delete the order; its record is retained, so that it can be restored."""
        if not order.deleted_at:
            for stamp, index in self._orders_by.items():
                index.remove(entry(_ORDER_KEYS[stamp](order), order.id))
            order.deleted_at = at
            self.revision += 1

    def restore(self, order: Order) -> None:
        """Restore a deleted order as it was."""
        if order.deleted_at:
            order.deleted_at = 0
            self._enter(order)
            self.revision += 1

    # Buyers

    def add_buyer(self, buyer: Buyer) -> None:
        """Add a new card, whose id is the next one."""
        self.revision += 1
        self.buyers.append(buyer)
        self.live_buyers.append(buyer)
        for phone in buyer.phones:
            self.by_phone[phone] = (*self.by_phone.get(phone, ()), buyer.id)

    def merge(self, loser: Buyer, into: Buyer, *, at: int) -> None:
        """Merge the card ``loser`` into another, which takes over its phones, e-mails and orders.

        The setting ``merge_bumps_updated_at`` decides if the orders' updated_at changes.
        """
        if loser.merged_into or into.merged_into or loser is into:
            return
        self.revision += 1
        for id in loser.order_ids:
            order = self.orders[id - 1]
            order.buyer_id = into.id
            if self.settings.merge_bumps_updated_at:
                self.touch(order, at)
        into.order_ids = sorted(into.order_ids + loser.order_ids)
        into.phones = tuple(dict.fromkeys(into.phones + loser.phones))
        into.emails = tuple(dict.fromkeys(into.emails + loser.emails))
        into.updated_at = max(into.updated_at, at)
        loser.order_ids, loser.merged_into = [], into.id
        del self.live_buyers[bisect_left(self.live_buyers, loser.id, key=lambda buyer: buyer.id)]
        for phone in loser.phones:
            others = (id for id in self.by_phone[phone] if id not in (loser.id, into.id))
            self.by_phone[phone] = (into.id, *others)

    def _carry(self, order: Order, state: int) -> None:
        if state != order.stock:
            stock.carry(self.shelves.offers, order.lines, before=order.stock, after=state)
            order.stock = state

    def _enter(self, order: Order) -> None:
        for stamp, index in self._orders_by.items():
            index.add(entry(_ORDER_KEYS[stamp](order), order.id))

    def _move(self, order: Order, stamp: str, to: int) -> None:
        index = self._orders_by.get(stamp)
        if index is not None and not order.deleted_at:
            index.remove(entry(_ORDER_KEYS[stamp](order), order.id))
            index.add(entry(to, order.id))
