"""The records of the shop: orders, people and goods.

Money is in whole kopecks, times are whole seconds since 1970 (UTC), quantities are thousandths,
percents are whole. If an id or a time is 0, there is none. The records change with the shop, so
they are not frozen. They are excluded from garbage collection, because a million of them have
no reference cycle.
"""

import msgspec


class Line(msgspec.Struct, gc=False):
    """One line of an order, as it was sold."""

    id: int
    product_id: int
    offer_id: int
    name: str
    price: int
    price_sold: int
    discount_percent: int
    discount_amount: int
    loyalty: int
    cost: int | None
    quantity: int
    created_at: int
    updated_at: int
    upsale: bool = False


class Expense(msgspec.Struct, gc=False):
    """One expense of an order."""

    id: int
    type_id: int
    amount: int
    status: str
    payment_date: int
    created_at: int
    updated_at: int
    description: str | None = None


class Order(msgspec.Struct, gc=False):
    """One order in its current state."""

    id: int
    source_id: int
    created_at: int
    ordered_at: int
    updated_at: int
    status_id: int
    status_changed_at: int
    buyer_id: int
    manager_id: int
    lines: tuple[Line, ...]
    expenses: tuple[Expense, ...] = ()
    closed_at: int = 0
    deleted_at: int = 0
    parent_id: int = 0
    source_number: int = 0
    discount_percent: int = 0
    discount_amount: int = 0
    loyalty: int = 0
    shipping_price: int | None = None
    wrap_price: int | None = None
    taxes: int | None = None
    products_total: int = 0
    grand_total: int = 0
    paid: int = 0
    paid_at: int = 0
    shipped_at: int = 0
    tracking: int = 0
    stock: int = 0
    utm: int = 0
    is_gift: bool = False
    comment: str | None = None
    buyer_comment: str | None = None


class Buyer(msgspec.Struct, gc=False):
    """One buyer's card; a person may have two."""

    id: int
    full_name: str
    phones: tuple[str, ...]
    emails: tuple[str, ...]
    city: int
    created_at: int
    updated_at: int
    order_ids: list[int]
    birthday: str | None = None
    note: str | None = None
    manager_id: int = 0
    company_id: int = 0
    loyalty: int = 0
    is_wholesale: bool = False
    merged_into: int = 0


class Offer(msgspec.Struct, gc=False):
    """One offer: a product, or one variant of it."""

    id: int
    product_id: int
    sku: str | None
    price: int
    cost: int | None
    quantity: int
    reserve: int
    sold: int
    restocked: int
    volume: str | None
    is_listed: bool = True


class Product(msgspec.Struct, gc=False):
    """One product."""

    id: int
    name: str
    category_id: int
    brand: str | None
    brand_form: str
    offers: tuple[Offer, ...]
    created_at: int
    updated_at: int
    has_offers: bool = False
    is_archived: bool = False
    is_removed: bool = False
    unit_type: str | None = None


class Category(msgspec.Struct, gc=False):
    """A category of the catalogue."""

    id: int
    name: str
    parent_id: int


class Manager(msgspec.Struct, gc=False):
    """A user of the CRM."""

    id: int
    first_name: str
    last_name: str | None
    username: str
    role_id: int
    status: str
    created_at: int
    updated_at: int
    last_logged_at: int


class Source(msgspec.Struct, gc=False):
    """A channel of orders."""

    id: int
    name: str
    alias: str
    driver: str
    source_uuid: str | None
    source_name: str | None
    created_at: int
    updated_at: int


class Status(msgspec.Struct, gc=False):
    """A status of orders; its group is 1 new … 5 completed, 6 cancelled or lost."""

    id: int
    name: str
    alias: str
    group_id: int
    is_closing: bool
    is_reserved: bool
    created_at: int
    updated_at: int
    label: str = ""
    is_active: bool = True


class ExpenseType(msgspec.Struct, gc=False):
    """A type of expenses."""

    id: int
    name: str
    alias: str
    is_reserved: bool
    is_active: bool = True
