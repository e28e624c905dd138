"""Orders with the relations that a request includes."""

from collections.abc import Collection

from ingest.sandbox import money, people, reference, stamps, stock
from ingest.sandbox.payload.forms import Forms, Json, decimal
from ingest.sandbox.payload.relations import RELATIONS
from ingest.sandbox.records import Order
from ingest.sandbox.store import Store

COUNTED = ("buyer", "products", "manager", "tags", "status", "payments", "expenses", "attachments")
"""Relations that can be included as a number (productsCount) or as a yes or no (productsExists)."""


def order(forms: Forms, store: Store, order: Order, include: Collection[str] = ()) -> Json:
    """Return an order with the relations named in ``include``."""
    at, amount, settings = forms.at, forms.amount, forms.settings
    status = store.statuses[order.status_id]
    web = order.source_number
    created, updated = at(order.created_at), at(order.updated_at)
    changed = at(order.status_changed_at)
    spent = money.spent(order.expenses)
    margin = order.grand_total - money.cost_total(order.lines)
    found: Json = {
        "id": order.id,
        "parent_id": order.parent_id or None,
        "source_uuid": str(web) if web else None,
        "global_source_uuid": str(9_034_417_000_000 + web * 101) if web else None,
        "status_on_source": "new" if web else None,
        "source_id": order.source_id,
        "client_id": order.buyer_id or None,
        "grand_total": amount(order.grand_total),
        "total_discount": amount(money.order_discount(order)),
        "margin_sum": amount(margin - spent if settings.margin_less_expenses else margin),
        "expenses_sum": amount(spent),
        "discount_amount": amount(order.discount_amount) if web or order.discount_amount else None,
        "discount_percent": order.discount_percent if web or order.discount_percent else None,
        "shipping_price": None if order.shipping_price is None else decimal(order.shipping_price),
        "taxes": forms.amount_or_null(order.taxes),
        "wrap_price": None if order.wrap_price is None else decimal(order.wrap_price),
        "register_id": None,
        "fiscal_result": [],
        "fiscal_status": "done" if web and order.paid else None,
        "shipping_type_id": None,
        "status_group_id": status.group_id,
        "status_id": order.status_id,
        "status_changed_at": changed,
        "status_expired_at": None,
        "closed_from": None,
        "manager_comment": order.comment or _campaign_comment(order),
        "client_comment": None,
        "buyer_comment": order.buyer_comment,
        "discount_data": _discount_data(order),
        "is_gift": order.is_gift,
        "gift_wrap": order.wrap_price is not None,
        "gift_message": None,
        "promocode": _promocode(order),
        "payment_status": money.payment_status(order),
        "last_synced_at": stamps.plain(order.created_at) if web else None,
        "ordered_at": at(order.ordered_at),
        "created_at": created,
        "updated_at": updated,
        "closed_at": stamps.plain(order.closed_at) if order.closed_at else None,
        "source_updated_at": at(order.ordered_at + 1) if web else None,
        "deleted_at": None,
        "payments_total": amount(order.paid),
        "products_total": amount(order.products_total),
        "is_expired": False,
        "has_reserves": order.stock == stock.RESERVED,
    }
    if not settings.client_id_key:
        del found["client_id"]
    for name in include:
        if name in RELATIONS:
            RELATIONS[name](forms, store, order, found)
        else:
            _count(forms, store, name, order, found)
    return found


def _count(forms: Forms, store: Store, name: str, order: Order, found: Json) -> None:
    """Add ``productsCount``, ``productsExists`` and the same for other relations."""
    base = name.removesuffix("Count").removesuffix("Exists")
    related: Json = {}
    RELATIONS[base](forms, store, order, related)
    value = related[base]
    number = len(value) if isinstance(value, list) else int(value is not None)
    if name.endswith("Count"):
        found[f"{base}_count"] = number
    else:
        found[f"{base}_exists"] = number > 0


def _discount_data(order: Order) -> Json | list[Json] | None:
    if order.loyalty:
        level, name = people.LEVELS[order.loyalty]
        loyalty = {"name": name, "amount": 0, "discount": order.loyalty, "level_id": level}
        return {"loyalty": loyalty | {"loyalty_program_id": 1}}
    return [] if order.source_number else None


def _campaign_comment(order: Order) -> str | None:
    source, medium, campaign = reference.CAMPAIGNS[order.utm]
    return f"UTM: utm_source: {source}; utm_medium: {medium}; utm_campaign: {campaign}" if source else None


def _promocode(order: Order) -> str | None:
    if not order.source_number:
        return None
    return f"VESNA{order.discount_percent}" if 0 < order.discount_percent < 100 else ""
