"""The KeyCRM resources that are copied, as data. Pure.

A field without a default, or of a type that is marked as counted, is strict: an object is refused if
it can't be read. Any other field that can't be read has its default, and the rest of the object counts.

``identity`` and ``volatile`` name the fields that are not a row's own content. An included
object is another resource and counts by its id. A counter of the CRM, or a stamp that moves by
itself, is no change. If they counted, every stock movement would make a new state of every
order that ever contained the offer.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec

Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Money = Decimal | None
Id = Int | None
Text = str | None
# PHP writes an empty object as [].
Empty = list[Any] | None
# Mark of a field that gold counts with although the CRM may leave it out: an object with an unreadable one
# is refused, like one with an unreadable required field.
COUNTED = msgspec.Meta(extra={"is_counted": True})
# Mark of a list that costs only itself: elements that can't be read are left out, and a list that can't be
# read is empty.
LEFT_OUT = msgspec.Meta(extra={"is_left_out": True})
CountedNumber = Annotated[Decimal, COUNTED] | None
CountedId = Annotated[Int, COUNTED] | None


class Ref(msgspec.Struct):
    """An included object that is reduced to its id."""

    id: Int


class Offer(msgspec.Struct):
    """The catalogue entry of a line; its price and stock are those of today, not of the sale."""

    id: Id = None
    product_id: Id = None


class LineIn(msgspec.Struct):
    """One line of an order. ``price`` is the list price, ``price_sold`` is after discounts; both per unit."""

    price: Decimal
    quantity: Decimal
    name: Text = None
    sku: Text = None
    id: Id = None
    price_sold: CountedNumber = None
    purchased_price: Money = None
    discount_percent: Decimal | None = None
    discount_amount: Money = None
    total_discount: Decimal | None = None
    unit_type: Text = None
    upsale: bool | None = None
    comment: Text = None
    offer: Offer | Empty = None


class ExpenseIn(msgspec.Struct):
    """A cost booked on an order; positive. It is left out if a field without a default can't be read."""

    id: Int
    expense_type_id: Int
    amount: Decimal
    actual_currency: Text = None
    description: Text = None
    status: Text = None
    payment_date: datetime | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class OrderIn(msgspec.Struct):
    """An order with its lines and expenses, which are part of it."""

    id: Int
    source_id: Int
    status_id: Int
    grand_total: Decimal
    ordered_at: datetime
    created_at: datetime
    updated_at: datetime
    products: list[LineIn]
    expenses: Annotated[list[ExpenseIn], LEFT_OUT]
    parent_id: Id = None
    source_uuid: Text = None
    status_group_id: CountedId = None
    client_id: Id = None
    buyer: Ref | Empty = None
    manager: Ref | Empty = None
    products_total: Money = None
    total_discount: Money = None
    discount_percent: Decimal | None = None
    discount_amount: Money = None
    shipping_price: Money = None
    wrap_price: Money = None
    taxes: Money = None
    margin_sum: Money = None
    expenses_sum: Money = None
    payments_total: Money = None
    payment_status: Text = None
    promocode: Text = None
    is_gift: bool | None = None
    status_changed_at: datetime | None = None
    closed_at: datetime | None = None


class CustomField(msgspec.Struct):
    """A field that the account defined; the value of a select is a list even if there is one."""

    uuid: Text = None
    value: Any = None


class ProductIn(msgspec.Struct):
    """A product; its brand is one of its custom fields. An unreadable name is empty."""

    id: Int
    name: str = ""
    sku: Text = None
    category_id: Id = None
    price: Money = None
    purchased_price: Money = None
    min_price: Money = None
    max_price: Money = None
    has_offers: bool | None = None
    is_archived: bool | None = None
    custom_fields: list[CustomField] | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class CategoryIn(msgspec.Struct):
    """A node of the category tree. An unreadable name is empty."""

    id: Int
    name: str = ""
    parent_id: Id = None


class BuyerIn(msgspec.Struct):
    """A buyer's card."""

    id: Int
    full_name: Text = None
    birthday: Text = None
    phone: list[str] | str | None = None
    email: list[str] | str | None = None
    note: Text = None
    manager_id: Id = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class ExpenseTypeIn(msgspec.Struct):
    """A kind of expense; the name of a built-in one is a key of the CRM's dictionary."""

    id: Int
    name: Text = None
    alias: Text = None
    is_active: bool | None = None
    by_order: bool | None = None


class ManagerIn(msgspec.Struct):
    """A user of the CRM."""

    id: Int
    full_name: Text = None
    first_name: Text = None
    last_name: Text = None
    username: Text = None
    email: Text = None
    role_id: Id = None
    status: Text = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class SourceIn(msgspec.Struct):
    """A channel that orders come from."""

    id: Int
    name: Text = None
    alias: Text = None
    driver: Text = None
    currency_code: Text = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class StatusIn(msgspec.Struct):
    """A step in an order's life; ``group_id`` 6 is cancelled or lost."""

    id: Int
    name: Text = None
    alias: Text = None
    group_id: Id = None
    is_active: bool | None = None
    is_closing_order: bool | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class OfferIn(msgspec.Struct):
    """A variant that can be sold, with its current stock and purchase price."""

    id: Int
    product_id: Id = None
    sku: Text = None
    barcode: Text = None
    price: Money = None
    purchased_price: CountedNumber = None
    quantity: CountedNumber = None
    in_reserve: CountedNumber = None
    is_archived: bool | None = None


class Entity(msgspec.Struct, frozen=True, kw_only=True):
    """One KeyCRM resource: its path, and which of its fields are a change.

    ``filters``: created and updated windows exist; without them the whole list is always read.
    ``is_reference``: a short list, read by every sync if it is due.
    """

    name: str
    path: str
    kind: type[msgspec.Struct]
    include: str = ""
    sort: str = ""
    filters: bool = False
    is_reference: bool = False
    identity: tuple[str, ...] = ()
    volatile: tuple[str, ...] = ()

    @property
    def table(self) -> str:
        """The bronze table of its observations."""
        return f"bronze.{self.name}"


ORDERS = Entity(
    name="orders",
    path="/order",
    kind=OrderIn,
    include="buyer,products.offer,manager,status,expenses",
    sort="id",
    filters=True,
    identity=("buyer", "manager", "status"),
    volatile=("last_synced_at",),
)
BUYERS = Entity(
    name="buyers",
    path="/buyer",
    kind=BuyerIn,
    include="loyalty,custom_fields",
    filters=True,
    volatile=("orders_count", "orders_sum", "has_duplicates"),
)
PRODUCTS = Entity(
    name="products",
    path="/products",
    kind=ProductIn,
    include="custom_fields",
    volatile=("quantity", "in_reserve"),
)
OFFERS = Entity(name="offers", path="/offers", kind=OfferIn, sort="id")
CATEGORIES = Entity(name="categories", path="/products/categories", kind=CategoryIn, is_reference=True)
MANAGERS = Entity(
    name="managers",
    path="/users",
    kind=ManagerIn,
    is_reference=True,
    volatile=("last_logged_at", "updated_at"),
)
SOURCES = Entity(name="sources", path="/order/source", kind=SourceIn, sort="id", is_reference=True)
STATUSES = Entity(name="statuses", path="/order/status", kind=StatusIn, sort="id", is_reference=True)
EXPENSE_TYPES = Entity(
    name="expense_types", path="/order/expense-type", kind=ExpenseTypeIn, sort="id", is_reference=True
)
ENTITIES = (ORDERS, BUYERS, PRODUCTS, OFFERS, CATEGORIES, MANAGERS, SOURCES, STATUSES, EXPENSE_TYPES)
BY_TABLE = {entity.table: entity for entity in ENTITIES}
# Fields of a line that count by their id, not by today's price or stock.
LINE_IDENTITY = ("offer", "warehouse")
