"""The relations of an order, by the name that a request includes them under."""

from collections.abc import Callable

from ingest.sandbox import reference
from ingest.sandbox.payload import lines, people, short, spending, travel
from ingest.sandbox.payload.forms import Forms, Json
from ingest.sandbox.records import Order
from ingest.sandbox.store import Store


def _buyer(forms: Forms, store: Store, order: Order, found: Json) -> None:
    buyer_id = order.buyer_id
    found["buyer"] = people.order_buyer(forms, store, store.buyer(buyer_id)) if buyer_id else None


def _products(forms: Forms, store: Store, order: Order, found: Json) -> None:
    if "products" not in found:
        found["products"] = [lines.line(forms, store, line, order, with_offer=False) for line in order.lines]


def _products_offer(forms: Forms, store: Store, order: Order, found: Json) -> None:
    found["products"] = [lines.line(forms, store, line, order, with_offer=True) for line in order.lines]


def _manager(forms: Forms, store: Store, order: Order, found: Json) -> None:
    found["manager"] = people.manager_or_null(forms, store, order.manager_id)


def _assigned(forms: Forms, store: Store, order: Order, found: Json) -> None:
    found["assigned"] = people.assigned(forms, store, order.manager_id)


def _tags(forms: Forms, store: Store, order: Order, found: Json) -> None:
    wanted = 1 if order.is_gift else 2 if order.manager_id == reference.WHOLESALE_MANAGER else 0
    found["tags"] = [short.tag(forms, row) for row in reference.TAGS if row[0] == wanted]


def _status(forms: Forms, store: Store, order: Order, found: Json) -> None:
    found["status"] = short.status(forms, store.statuses[order.status_id])


def _marketing(forms: Forms, store: Store, order: Order, found: Json) -> None:
    source, medium, campaign = reference.CAMPAIGNS[order.utm]
    at = forms.at(order.created_at)
    found["marketing"] = {
        "utm_source": source,
        "utm_medium": medium,
        "utm_campaign": campaign,
        "utm_term": None,
        "utm_content": None,
        "created_at": at,
        "updated_at": at,
    }


def _payments(forms: Forms, store: Store, order: Order, found: Json) -> None:
    found["payments"] = spending.payments(forms, order)


def _expenses(forms: Forms, store: Store, order: Order, found: Json) -> None:
    found["expenses"] = [spending.expense(forms, expense, order) for expense in order.expenses]


def _shipping(forms: Forms, store: Store, order: Order, found: Json) -> None:
    if "shipping" not in found:
        found["shipping"] = travel.shipping(forms, store, order)


def _last_history(forms: Forms, store: Store, order: Order, found: Json) -> None:
    _shipping(forms, store, order, found)
    found["shipping"]["last_history"] = travel.last_history(forms, order)


def _delivery_service(forms: Forms, store: Store, order: Order, found: Json) -> None:
    _shipping(forms, store, order, found)
    found["shipping"]["delivery_service"] = dict(travel.SERVICE)


def _fields(forms: Forms, store: Store, order: Order, found: Json) -> None:
    field = {"id": 9, "uuid": "OR_1001", "name": "Коробка", "type": "select", "value": ["Мала"]}
    found["custom_fields"] = [field] if order.id % 9 == 0 else []


def _attachments(forms: Forms, store: Store, order: Order, found: Json) -> None:
    found["attachments"] = []


RELATIONS: dict[str, Callable[[Forms, Store, Order, Json], None]] = {
    "buyer": _buyer,
    "products": _products,
    "products.offer": _products_offer,
    "manager": _manager,
    "tags": _tags,
    "status": _status,
    "marketing": _marketing,
    "payments": _payments,
    "shipping": _shipping,
    "shipping.lastHistory": _last_history,
    "shipping.deliveryService": _delivery_service,
    "expenses": _expenses,
    "custom_fields": _fields,
    "customFields": _fields,
    "assigned": _assigned,
    "attachments": _attachments,
    "attachments.file": _attachments,
}
