"""The shipping of an order."""

from ingest.sandbox import reference
from ingest.sandbox.payload.forms import Forms, Json
from ingest.sandbox.records import Order
from ingest.sandbox.store import Store

SERVICE: Json = {"id": 1, "name": "Нова Пошта", "source_name": "novaposhta", "alias": "novaposhta"}


def shipping(forms: Forms, store: Store, order: Order) -> Json:
    """Return the shipping of the order."""
    city, region = reference.CITIES[_city(store, order)]
    code = str(order.tracking) if order.tracking else None
    found: Json = {
        "delivery_service_id": 1,
        "address_id": 100_000 + order.id,
        "last_history_id": order.id + 7 if order.shipped_at else None,
        "tracking_code": code,
        "return_tracking_code": None,
        "tracking_code_send_at": None,
        "shipping_status": "transit" if order.shipped_at else None,
        "shipment_payload": [],
        "address_payload": {
            "city_ref": f"city-{_city(store, order)}",
            "city_desc": city,
            "area_desc": region,
            "warehouse_ref": "branch-7",
            "warehouse_desc": "Відділення №7",
        },
        "is_warehouse": True,
        "shipping_preferred_method": None,
        "shipping_address": None,
        "recipient_phone": None,
        "recipient_full_name": None,
        "shipping_address_country": "Україна",
        "shipping_address_country_code": "UA",
        "shipping_address_region": region,
        "shipping_address_city": city,
        "shipping_address_zip": None,
        "shipping_receive_point": "Відділення №7",
        "shipping_secondary_line": "",
        "shipping_date": None,
        "shipping_date_actual": None,
        "shipping_date_actual_has_owner": False,
        "shipping_price": None,
        "was_shipped": bool(order.shipped_at),
        "created_at": forms.at(order.created_at),
        "updated_at": forms.at(order.shipped_at or order.created_at),
        "deleted_at": None,
        "full_address": f"{city}, Відділення №7",
    }
    return found


def last_history(forms: Forms, order: Order) -> Json | None:
    """Return the last status of the carrier, or None if the order was not sent."""
    if not order.shipped_at:
        return None
    at = forms.at(order.shipped_at)
    return {
        "id": order.id + 7,
        "tracking_code": str(order.tracking),
        "status": "transit",
        "created_at": at,
    }


def _city(store: Store, order: Order) -> int:
    return store.buyers[order.buyer_id - 1].city if order.buyer_id else order.id % 10
