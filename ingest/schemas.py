"""Schemas: the columns of each bronze table, and the place in an object that each comes from. Pure.

The columns of a list follow the fields of its Struct in ``ingest.entities``. Orders and their lines
have columns of their own, because some come from included objects.
"""

import types
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pyarrow as pa

from ingest import entities as e
from lake.delta.contract import Contract

# An order's total has kopecks; if it is finer, the order is rejected. Unit prices and discounts may be finer
# and are rounded to four places; the payload has all of them.
MONEY = "DECIMAL(18,2)"
FINE = "DECIMAL(18,4)"
PIECES = "DECIMAL(18,3)"
# The column types of fields. A type is written as in a contract, with "?" if null is allowed.
TYPES: dict[Any, str] = {
    int: "BIGINT",
    str: "VARCHAR",
    bool: "BOOLEAN",
    datetime: "TIMESTAMPTZ",
    Decimal: FINE,
}
Getter = Callable[[Any], Any]
# The columns of every observation, after the resource's own columns.
OBSERVED = {
    "payload_hash": "VARCHAR",
    "is_deleted": "BOOLEAN",
    "fetched_at": "TIMESTAMPTZ",
    "run_id": "VARCHAR",
    "observed_on": "DATE",
}


class Layout(msgspec.Struct, frozen=True):
    """A bronze table: its name, its own columns, and a getter for each.

    ``paths`` locates the columns that are a value of the object or of an included one: a column
    is the first value at its paths that is not null.
    """

    table: str
    columns: dict[str, str]
    getters: dict[str, Getter]
    paths: dict[str, tuple[str, ...]]
    has_payload: bool = True

    @property
    def schema(self) -> pa.Schema:
        """All columns, including those of every observation.

        If the table can have tombstones, all columns but the id may be null: a tombstone has no others.
        """
        if not self.has_payload:
            return Contract.of({**self.columns, **OBSERVED}).schema
        nullable = {name: kind.removesuffix("?") + "?" for name, kind in self.columns.items()}
        return Contract.of({**nullable, "id": "BIGINT", "payload": "VARCHAR?", **OBSERVED}).schema


def layout(
    table: str, columns: dict[str, str], *, payload: bool = True, **special: Getter | Sequence[str]
) -> Layout:
    """Return a layout in which a column comes from the attribute of its name, unless ``special`` differs.

    ``special`` has paths, or a function of the object.
    """
    sources = {name: special.get(name, (name,)) for name in columns}
    paths = {name: tuple(source) for name, source in sources.items() if not callable(source)}
    getters = {name: source if callable(source) else first_of(source) for name, source in sources.items()}
    return Layout(table, columns, getters, paths, payload)


def columns_of(kind: type[msgspec.Struct], **other_types: str) -> dict[str, str]:
    """Return a column for each field of a Struct; ``other_types`` has types that do not follow from it."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: other_types.get(name) or column_type(hint) for name, hint in hints.items()}


def column_type(hint: Any) -> str:
    """Return the column type of a field: a scalar, or one that may be None."""
    if get_origin(hint) is Annotated:
        return column_type(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        (inner,) = set(get_args(hint)) - {type(None)}
        return column_type(inner) + "?"
    return TYPES[hint]


def first_of(paths: Sequence[str]) -> Getter:
    """Return a getter of the first value at the paths that is not None; None if there is none."""
    if len(paths) == 1 and "." not in paths[0]:
        return attrgetter(paths[0])
    steps = [path.split(".") for path in paths]

    def value_of(row: Any) -> Any:
        return next((value for path in steps if (value := value_at(row, path)) is not None), None)

    return value_of


def value_at(row: Any, path: Sequence[str]) -> Any:
    """Return the value at a path; None if an included object on the way is missing or empty."""
    for name in path:
        row = getattr(row, name, None)
    return row


def custom_fields_json(product: e.ProductIn) -> str:
    """Return the custom fields as JSON; their meaning is a rule of the shop."""
    return msgspec.json.encode(product.custom_fields or []).decode()


def text_list(name: str) -> Getter:
    """Return a getter of a list of texts from a field in which the CRM sends one text, a list or null."""

    def list_of(row: Any) -> list[str]:
        value = getattr(row, name)
        return [value] if isinstance(value, str) else list(value or [])

    return list_of


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
# An order's parts get their order's id and observation columns, and their position in it.
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
        "quantity": PIECES,
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
    {"order_id": "BIGINT", "position": "BIGINT", **columns_of(e.ExpenseIn)},
    payload=False,
)
LISTS: Mapping[str, Layout] = {
    each.table: each
    for each in (
        ORDERS,
        layout(
            "bronze.buyers",
            columns_of(e.BuyerIn, phone="VARCHAR[]", email="VARCHAR[]"),
            phone=text_list("phone"),
            email=text_list("email"),
        ),
        layout(
            "bronze.products",
            columns_of(e.ProductIn, custom_fields="VARCHAR"),
            custom_fields=custom_fields_json,
        ),
        layout("bronze.offers", columns_of(e.OfferIn, quantity=PIECES + "?", in_reserve=PIECES + "?")),
        layout("bronze.categories", columns_of(e.CategoryIn)),
        layout("bronze.managers", columns_of(e.ManagerIn)),
        layout("bronze.sources", columns_of(e.SourceIn)),
        layout("bronze.statuses", columns_of(e.StatusIn)),
        layout("bronze.expense_types", columns_of(e.ExpenseTypeIn)),
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
# The odd fields of observations: a row for each field that is not as documented, with the observation's key.
# Committed before the observation, like an order's lines: they count only if it exists.
ODD_FIELDS = Contract.of(
    {
        "entity": "VARCHAR",
        "id": "BIGINT",
        "field": "VARCHAR",
        "is_read": "BOOLEAN",
        "fetched_at": "TIMESTAMPTZ",
        "run_id": "VARCHAR",
        "observed_on": "DATE",
    }
).schema
# The columns that each kind of object fills.
COLUMNS_OF: Mapping[type[msgspec.Struct], pa.Schema] = {
    **{entity.kind: LISTS[entity.table].schema for entity in e.ENTITIES},
    e.LineIn: LINES.schema,
    e.ExpenseIn: EXPENSES.schema,
}
SCHEMAS: Mapping[str, pa.Schema] = {
    **{name: each.schema for name, each in LISTS.items()},
    LINES.table: LINES.schema,
    EXPENSES.table: EXPENSES.schema,
    "bronze.rejected": REJECTED,
    "bronze.odd_fields": ODD_FIELDS,
}
