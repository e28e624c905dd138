"""Buyers and managers."""

from collections.abc import Collection

from ingest.sandbox import people, reference
from ingest.sandbox.payload.forms import Forms, Json, decimal
from ingest.sandbox.records import Buyer, Manager
from ingest.sandbox.store import Store


def buyer(forms: Forms, store: Store, buyer: Buyer, include: Collection[str] = ()) -> Json:
    """Return a buyer's card; here phones and e-mails are lists."""
    nothing: list[str] | None = [] if forms.settings.no_contacts == "empty" else None
    orders = [store.orders[id - 1] for id in buyer.order_ids]
    live = [order.grand_total for order in orders if not order.deleted_at]
    found: Json = {
        "id": buyer.id,
        "company_id": buyer.company_id or None,
        "full_name": buyer.full_name,
        "birthday": buyer.birthday,
        "phone": list(buyer.phones) or nothing,
        "email": list(buyer.emails) or nothing,
        "note": buyer.note,
        "orders_sum": decimal(sum(live)),
        "orders_count": len(live),
        "has_duplicates": int(_has_duplicates(store, buyer)),
        "manager_id": buyer.manager_id or None,
        "created_at": forms.at(buyer.created_at),
        "updated_at": forms.at(buyer.updated_at),
    }
    if "manager" in include:
        found["manager"] = manager_or_null(forms, store, buyer.manager_id)
    if "company" in include:
        found["company"] = _company(forms, buyer)
    if "shipping" in include:
        found["shipping"] = [_address(buyer)]
    if "loyalty" in include:
        found["loyalty"] = _loyalty(forms, buyer, sum(live))
    if "custom_fields" in include:
        kind = "Гурт" if buyer.is_wholesale else "Роздріб"
        found["custom_fields"] = [{"uuid": "CT_1005", "value": [kind]}] if buyer.id % 3 else []
    return found


def order_buyer(forms: Forms, store: Store, buyer: Buyer) -> Json:
    """Return the snapshot of a buyer inside an order: no lists, no custom fields."""
    orders = [store.orders[id - 1] for id in buyer.order_ids]
    return {
        "id": buyer.id,
        "company_id": buyer.company_id or None,
        "full_name": buyer.full_name,
        "birthday": buyer.birthday,
        "phone": buyer.phones[0] if buyer.phones else None,
        "email": buyer.emails[0] if buyer.emails else None,
        "note": buyer.note,
        "picture": None,
        "image": None,
        "orders_sum": decimal(sum(order.grand_total for order in orders if not order.deleted_at)),
        "discount": buyer.loyalty,
        "currency": "UAH",
        "orders_count": sum(not order.deleted_at for order in orders),
        "has_duplicates": int(_has_duplicates(store, buyer)),
        "manager_id": buyer.manager_id or None,
        "deleted_at": None,
        "created_at": forms.at(buyer.created_at),
        "updated_at": forms.at(buyer.updated_at),
    }


def _has_duplicates(store: Store, buyer: Buyer) -> bool:
    return any(len(store.by_phone[phone]) > 1 for phone in buyer.phones)


def _company(forms: Forms, buyer: Buyer) -> Json | None:
    if not buyer.company_id:
        return None
    id, name, full_name = reference.COMPANIES[buyer.company_id - 1]
    at = forms.at(buyer.created_at)
    empty = dict.fromkeys(("address", "banking_detailse", "note"))
    return {"id": id, "name": name, "full_name": full_name, **empty, "created_at": at, "updated_at": at}


def _loyalty(forms: Forms, buyer: Buyer, spent: int) -> list[Json]:
    if not buyer.loyalty:
        return []
    level, name = people.LEVELS[buyer.loyalty]
    return [
        {
            "loyalty_program_id": 1,
            "loyalty_program_name": "Свої",
            "loyalty_program_level_id": level,
            "loyalty_program_level_name": name,
            "amount": forms.amount(spent),
            "discount": buyer.loyalty,
        }
    ]


def manager(forms: Forms, manager: Manager) -> Json:
    """Return a user of the CRM."""
    return {
        "id": manager.id,
        "first_name": manager.first_name,
        "last_name": manager.last_name,
        "full_name": " ".join(filter(None, (manager.first_name, manager.last_name))),
        "username": manager.username,
        "email": f"{manager.username}@example.test",
        "phone": None,
        "role_id": manager.role_id,
        "status": manager.status,
        "created_at": forms.at(manager.created_at),
        "updated_at": forms.at(manager.updated_at),
        "last_logged_at": forms.at_or_null(manager.last_logged_at),
    }


def manager_or_null(forms: Forms, store: Store, id: int) -> Json | None:
    """Return a user, or None if the record has no manager."""
    found = store.managers.get(id)
    return manager(forms, found) if found else None


def assigned(forms: Forms, store: Store, id: int) -> list[Json]:
    """Return the users that an order is assigned to, with their roles."""
    found = store.managers.get(id)
    if found is None:
        return []
    name, alias = reference.ROLES[found.role_id]
    return [manager(forms, found) | {"role": {"id": found.role_id, "name": name, "alias": alias}}]


def _address(buyer: Buyer) -> Json:
    city, region = reference.CITIES[buyer.city]
    return {
        "address": None,
        "additional_address": None,
        "city": city,
        "region": region,
        "zip_code": None,
        "country": "Україна",
        "recipient_full_name": None,
        "recipient_phone": None,
        "warehouse_ref": None,
    }
