"""The kinds of edits, as data. Money is decimal hryvnias, times are aware datetimes."""

import datetime as dt
from decimal import Decimal
from typing import Literal, TypeAlias

import msgspec


class _Edit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="edit"):
    pass


class NewLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line to be sold: an offer, or a name alone."""

    name: str = "Доплата"
    price: Decimal = Decimal(100)
    quantity: Decimal = Decimal(1)
    offer_id: int | None = None
    discount_percent: int = 0
    purchased_price: Decimal | None = None


class AddOrder(_Edit, frozen=True, tag="add_order"):
    """Enter a new order. Defaults: now, status 1, a chat order without a manager."""

    source_id: int = 1
    status_id: int = 1
    manager_id: int | None = None
    buyer_id: int | None = None
    ordered_at: dt.datetime | None = None
    created_at: dt.datetime | None = None
    updated_at: dt.datetime | None = None
    lines: tuple[NewLine, ...] = (NewLine(),)
    discount_percent: int = 0
    discount_amount: Decimal = Decimal(0)
    comment: str | None = None


class EditOrder(_Edit, frozen=True, tag="edit_order"):
    """Change an order; a field that is None does not change.

    If the total is less than the sum of the lines, the rest is a discount; if it is more, a tax.
    """

    order_id: int
    grand_total: Decimal | None = None
    comment: str | None = None
    ordered_at: dt.datetime | None = None
    manager_id: int | None = None
    source_id: int | None = None
    buyer_id: int | None = None
    bump: bool = True


class AddLine(_Edit, frozen=True, tag="add_line"):
    """Add a line to an order."""

    order_id: int
    line: NewLine = NewLine()
    bump: bool = True


class EditLine(_Edit, frozen=True, tag="edit_line"):
    """Change one line of an order; a field that is None does not change."""

    order_id: int
    line_id: int
    price: Decimal | None = None
    quantity: Decimal | None = None
    name: str | None = None
    bump: bool = True


class RemoveLine(_Edit, frozen=True, tag="remove_line"):
    """Remove a line from an order."""

    order_id: int
    line_id: int
    bump: bool = True


class SetStatus(_Edit, frozen=True, tag="set_status"):
    """Put an order into a status; updated_at may stay the same."""

    order_id: int
    status_id: int
    bump: bool = True


class DeleteOrder(_Edit, frozen=True, tag="delete_order"):
    """Delete an order."""

    order_id: int


class RestoreOrder(_Edit, frozen=True, tag="restore_order"):
    """Restore a deleted order."""

    order_id: int


class AddExpense(_Edit, frozen=True, tag="add_expense"):
    """Add an expense to an order."""

    order_id: int
    amount: Decimal
    expense_type_id: int = 1
    status: str = "paid"


class EditExpense(_Edit, frozen=True, tag="edit_expense"):
    """Change an expense; a field that is None does not change."""

    order_id: int
    expense_id: int
    amount: Decimal | None = None
    status: str | None = None


class RemoveExpense(_Edit, frozen=True, tag="remove_expense"):
    """Remove an expense from an order."""

    order_id: int
    expense_id: int


class AddBuyer(_Edit, frozen=True, tag="add_buyer"):
    """Enter a buyer's card."""

    full_name: str
    phones: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()


class MergeBuyers(_Edit, frozen=True, tag="merge_buyers"):
    """Merge one buyer's card into another."""

    loser_id: int
    survivor_id: int


class Rename(_Edit, frozen=True, tag="rename"):
    """Rename a buyer, product, category, manager, source, status or expense type."""

    what: Literal["buyer", "product", "category", "manager", "source", "status", "expense_type"]
    id: int
    name: str


class EditProduct(_Edit, frozen=True, tag="edit_product"):
    """Change a product; a field that is None does not change.

    Price and cost apply to all its offers; category 0 is none.
    """

    product_id: int
    price: Decimal | None = None
    cost: Decimal | None = None
    brand: str | None = None
    category_id: int | None = None
    is_archived: bool | None = None
    is_removed: bool | None = None


class SetStock(_Edit, frozen=True, tag="set_stock"):
    """Set the stock of an offer."""

    offer_id: int
    quantity: Decimal


class AddStatus(_Edit, frozen=True, tag="add_status"):
    """Create a status."""

    id: int
    name: str
    group_id: int = 4


class AddSource(_Edit, frozen=True, tag="add_source"):
    """Create a channel."""

    id: int
    name: str
    driver: str = "other"


class AddManager(_Edit, frozen=True, tag="add_manager"):
    """Create a manager."""

    id: int
    name: str


Edit: TypeAlias = (
    AddOrder
    | EditOrder
    | AddLine
    | EditLine
    | RemoveLine
    | SetStatus
    | DeleteOrder
    | RestoreOrder
    | AddExpense
    | EditExpense
    | RemoveExpense
    | AddBuyer
    | MergeBuyers
    | Rename
    | EditProduct
    | SetStock
    | AddStatus
    | AddSource
    | AddManager
)
