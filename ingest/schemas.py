"""Which columns a bronze table has, and where in an object each comes from. Pure."""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa

from ingest import entities as e
from lake.delta.contract import Contract

# An order's total is kopecks, or it is refused; what a unit costs and what is taken off may be finer,
# and is kept to four places (the payload has it all).
MONEY = "DECIMAL(18,2)"
FINE = "DECIMAL(18,4)"
Getter = Callable[[Any], Any]
# What every observation carries, after the resource's own columns.
OBSERVED = {
    "payload_hash": "VARCHAR",
    "is_deleted": "BOOLEAN",
    "fetched_at": "TIMESTAMPTZ",
    "run_id": "VARCHAR",
    "observed_on": "DATE",
}


class Layout(msgspec.Struct, frozen=True):
    """A bronze table: its name, its own columns, and a getter for each.

    ``paths`` say the same of those columns that are a value of the object, or of one in it: each is the
    first of its paths at which there is one.
    """

    table: str
    columns: dict[str, str]
    getters: dict[str, Getter]
    paths: dict[str, tuple[str, ...]]
    has_payload: bool = True

    @property
    def schema(self) -> pa.Schema:
        """All columns, what an observation carries included.

        A tombstone is an id and nothing else, so where there may be one all else may be missing.
        """
        if not self.has_payload:
            return Contract.of({**self.columns, **OBSERVED}).schema
        may_miss = {name: kind.removesuffix("?") + "?" for name, kind in self.columns.items()}
        return Contract.of({**may_miss, "id": "BIGINT", "payload": "VARCHAR?", **OBSERVED}).schema


def layout(
    table: str, columns: dict[str, str], *, payload: bool = True, **special: Getter | Sequence[str]
) -> Layout:
    """Return a layout in which a column comes from the attribute of its name, unless ``special`` says how.

    That is by paths, or by a function of the object.
    """
    found = {name: special.get(name, (name,)) for name in columns}
    paths = {name: tuple(how) for name, how in found.items() if not callable(how)}
    getters = {name: how if callable(how) else first_of(how) for name, how in found.items()}
    return Layout(table, columns, getters, paths, payload)


def first_of(paths: Sequence[str]) -> Getter:
    """Return a getter of the first value there is at the paths; None where the CRM sent none."""
    if len(paths) == 1 and "." not in paths[0]:
        return attrgetter(paths[0])
    steps = [path.split(".") for path in paths]

    def value_of(row: Any) -> Any:
        return next((found for path in steps if (found := value_at(row, path)) is not None), None)

    return value_of


def value_at(row: Any, path: Sequence[str]) -> Any:
    """Return the value at a path; None where an included object on the way is missing, or empty."""
    for name in path:
        row = getattr(row, name, None)
    return row


def fields_of(product: e.ProductIn) -> str:
    """Return the custom fields as JSON; what they mean is the shop's business."""
    return msgspec.json.encode(product.custom_fields or []).decode()


def texts(name: str) -> Getter:
    """Return a getter of a list of texts, where the CRM may send one text, a list or null."""

    def list_of(row: Any) -> list[str]:
        value = getattr(row, name)
        return [value] if isinstance(value, str) else list(value or [])

    return list_of


STAMPS = {"created_at": "TIMESTAMPTZ?", "updated_at": "TIMESTAMPTZ?"}
ORDERS = layout(
    "bronze.orders",
    {
        "id": "BIGINT",
        "parent_id": "BIGINT?",
        "source_id": "BIGINT",
        "source_uuid": "VARCHAR?",
        "status_id": "BIGINT",
        "status_group_id": "BIGINT?",
        "buyer_id": "BIGINT?",
        "manager_id": "BIGINT?",
        "grand_total": MONEY,
        "products_total": FINE + "?",
        "total_discount": FINE + "?",
        "discount_percent": "DECIMAL(9,4)?",
        "discount_amount": FINE + "?",
        "shipping_price": FINE + "?",
        "wrap_price": FINE + "?",
        "taxes": FINE + "?",
        "margin_sum": FINE + "?",
        "expenses_sum": FINE + "?",
        "payments_total": FINE + "?",
        "payment_status": "VARCHAR?",
        "promocode": "VARCHAR?",
        "is_gift": "BOOLEAN?",
        "ordered_at": "TIMESTAMPTZ",
        "created_at": "TIMESTAMPTZ",
        "updated_at": "TIMESTAMPTZ",
        "status_changed_at": "TIMESTAMPTZ?",
        "closed_at": "TIMESTAMPTZ?",
    },
    buyer_id=("client_id", "buyer.id"),
    manager_id=("manager.id",),
)
# What the parts of an order share comes from the order: its id, its stamp, and their position.
LINES = layout(
    "bronze.order_products",
    {
        "order_id": "BIGINT",
        "position": "BIGINT",
        "id": "BIGINT?",
        "offer_id": "BIGINT?",
        "product_id": "BIGINT?",
        "name": "VARCHAR?",
        "sku": "VARCHAR?",
        "price": FINE,
        "price_sold": FINE + "?",
        "purchased_price": FINE + "?",
        "discount_percent": "DECIMAL(9,4)?",
        "discount_amount": FINE + "?",
        "total_discount": FINE + "?",
        "quantity": "DECIMAL(18,3)",
        "unit_type": "VARCHAR?",
        "upsale": "BOOLEAN?",
        "comment": "VARCHAR?",
    },
    payload=False,
    offer_id=("offer.id",),
    product_id=("offer.product_id",),
)
EXPENSES = layout(
    "bronze.expenses",
    {
        "order_id": "BIGINT",
        "position": "BIGINT",
        "id": "BIGINT",
        "expense_type_id": "BIGINT",
        "amount": FINE,
        "actual_currency": "VARCHAR?",
        "description": "VARCHAR?",
        "status": "VARCHAR?",
        "payment_date": "TIMESTAMPTZ?",
        **STAMPS,
    },
    payload=False,
)
LISTS: Mapping[str, Layout] = {
    found.table: found
    for found in (
        ORDERS,
        layout(
            "bronze.buyers",
            {
                "id": "BIGINT",
                "full_name": "VARCHAR?",
                "birthday": "VARCHAR?",
                "phone": "VARCHAR[]",
                "email": "VARCHAR[]",
                "note": "VARCHAR?",
                "manager_id": "BIGINT?",
                **STAMPS,
            },
            phone=texts("phone"),
            email=texts("email"),
        ),
        layout(
            "bronze.products",
            {
                "id": "BIGINT",
                "name": "VARCHAR",
                "sku": "VARCHAR?",
                "category_id": "BIGINT?",
                "price": FINE + "?",
                "purchased_price": FINE + "?",
                "min_price": FINE + "?",
                "max_price": FINE + "?",
                "has_offers": "BOOLEAN?",
                "is_archived": "BOOLEAN?",
                "custom_fields": "VARCHAR",
                **STAMPS,
            },
            custom_fields=fields_of,
        ),
        layout(
            "bronze.offers",
            {
                "id": "BIGINT",
                "product_id": "BIGINT?",
                "sku": "VARCHAR?",
                "barcode": "VARCHAR?",
                "price": FINE + "?",
                "purchased_price": FINE + "?",
                "quantity": "DECIMAL(18,3)?",
                "in_reserve": "DECIMAL(18,3)?",
                "is_archived": "BOOLEAN?",
            },
        ),
        layout("bronze.categories", {"id": "BIGINT", "name": "VARCHAR", "parent_id": "BIGINT?"}),
        layout(
            "bronze.managers",
            {
                "id": "BIGINT",
                "full_name": "VARCHAR?",
                "first_name": "VARCHAR?",
                "last_name": "VARCHAR?",
                "username": "VARCHAR?",
                "email": "VARCHAR?",
                "role_id": "BIGINT?",
                "status": "VARCHAR?",
                **STAMPS,
            },
        ),
        layout(
            "bronze.sources",
            {
                "id": "BIGINT",
                "name": "VARCHAR?",
                "alias": "VARCHAR?",
                "driver": "VARCHAR?",
                "currency_code": "VARCHAR?",
                **STAMPS,
            },
        ),
        layout(
            "bronze.statuses",
            {
                "id": "BIGINT",
                "name": "VARCHAR?",
                "alias": "VARCHAR?",
                "group_id": "BIGINT?",
                "is_active": "BOOLEAN?",
                "is_closing_order": "BOOLEAN?",
                **STAMPS,
            },
        ),
        layout(
            "bronze.expense_types",
            {
                "id": "BIGINT",
                "name": "VARCHAR?",
                "alias": "VARCHAR?",
                "is_active": "BOOLEAN?",
                "by_order": "BOOLEAN?",
            },
        ),
    )
}
REJECTED = Contract.of(
    {
        "entity": "VARCHAR",
        "id": "BIGINT?",
        "reason": "VARCHAR",
        "payload": "VARCHAR",
        "payload_hash": "VARCHAR",
        "fetched_at": "TIMESTAMPTZ",
        "run_id": "VARCHAR",
        "observed_on": "DATE",
    }
).schema
SCHEMAS: Mapping[str, pa.Schema] = {
    **{name: found.schema for name, found in LISTS.items()},
    LINES.table: LINES.schema,
    EXPENSES.table: EXPENSES.schema,
    "bronze.rejected": REJECTED,
}
