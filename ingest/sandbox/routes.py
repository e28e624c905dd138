"""The routes of the API: the parameters of each, its list, and its single records."""

from collections.abc import Callable, Sequence

import msgspec

from ingest.sandbox import selection
from ingest.sandbox.lists import Lists
from ingest.sandbox.payload import orders as order_payload
from ingest.sandbox.payload.forms import Json
from ingest.sandbox.payload.relations import RELATIONS
from ingest.sandbox.query import Query, Route

_COUNTS = tuple(f"{name}{what}" for name in order_payload.COUNTED for what in ("Count", "Exists"))
ORDER = Route(filters=selection.FILTERS, includes=(*RELATIONS, *_COUNTS), sorts=selection.SORTS)
BUYER = Route(
    filters=("buyer_id", "buyer_phone", "buyer_email", "created_between", "updated_between"),
    includes=("manager", "shipping", "company", "loyalty", "custom_fields"),
)
PRODUCT = Route(filters=("product_id", "category_id", "is_archived"), includes=("custom_fields",))
CATEGORY = Route(filters=("category_id", "parent_id"))
USER = Route(
    filters=(
        "id",
        "full_name",
        "role_id",
        "status",
        "email",
        "phone",
        "created_between",
        "last_logged_between",
    ),
    strict=False,
)
OFFER = Route(
    filters=("id", "product_id", "sku", "is_archived"), includes=("product",), sorts=("id", "product_id")
)
STOCK = Route(filters=("offers_id", "offers_sku", "details"), strict=False)
SHORT = Route(sorts=("id",))
FIELD = Route(filters=("model",), includes=("options",), sorts=("position",))

Lister = Callable[[Lists, Query], tuple[list[Json], int]]
Finder = Callable[[Lists, int, Sequence[str]], Json]


class Listing(msgspec.Struct, frozen=True):
    """One list route: its path, its parameters, its list, and its single records."""

    path: str
    route: Route
    rows: Lister
    one: Finder | None = None


LISTINGS = (
    Listing("/order", ORDER, Lists.orders, Lists.order),
    Listing("/buyer", BUYER, Lists.buyers, Lists.buyer),
    Listing("/products", PRODUCT, Lists.products, Lists.product),
    Listing("/products/categories", CATEGORY, Lists.categories),
    Listing("/users", USER, Lists.users),
    Listing("/offers", OFFER, Lists.offers),
    Listing("/offers/stocks", STOCK, Lists.stocks),
    Listing("/order/source", SHORT, Lists.sources),
    Listing("/order/status", SHORT, Lists.statuses),
    Listing("/order/expense-type", SHORT, Lists.expense_types),
    Listing("/order/payment-method", SHORT, Lists.payment_methods),
    Listing("/order/tag", SHORT, Lists.tags),
    Listing("/order/delivery-service", SHORT, Lists.delivery_services),
)
