"""The lines of an order."""

from ingest.sandbox import stock
from ingest.sandbox.payload.forms import Forms, Json, quantity
from ingest.sandbox.payload.goods import line_offer, properties
from ingest.sandbox.records import Line, Order
from ingest.sandbox.store import Store

_STOCK_STATUS = {stock.RESERVED: "reserved", stock.SHIPPED: "fulfilled"}
_WAREHOUSE: Json = {"id": 1, "name": "Основний", "description": "", "is_active": True}


def line(forms: Forms, store: Store, line: Line, order: Order, *, with_offer: bool) -> Json:
    """Return one line of an order; it has its offer, and so its product, only if ``with_offer`` is true."""
    amount = forms.amount
    product = store.product_of(line)
    offer = store.shelves.offers[line.offer_id - 1] if product and line.offer_id else None
    discount = line.price - line.price_sold
    web = order.source_number and offer
    found: Json = {
        "id": line.id,
        "sku": offer.sku if offer else None,
        "variation_id": None,
        "publication_source_uuid": str(8_800_000 + offer.id) if web and offer else None,
        "name": line.name,
        "upsale": line.upsale,
        "price": amount(line.price),
        "discount_amount": amount(line.discount_amount),
        "discount_percent": line.discount_percent,
        "individual_discount": 0,
        "loyalty_discount": line.loyalty,
        "total_discount": amount(discount),
        "price_sold": amount(line.price_sold),
        "purchased_price": forms.amount_or_null(line.cost),
        "quantity": quantity(line.quantity),
        "unit_type": product.unit_type if product else None,
        "stock_status": _STOCK_STATUS.get(order.stock),
        "picture": {"thumbnail": f"https://kramnytsia.example/t/{offer.id}.webp"} if offer else None,
        "comment": None,
        "properties": properties(offer),
        "product_status_id": None,
        "shipment_type": "warehouse",
        "warehouse": dict(_WAREHOUSE),
    }
    if with_offer:
        found["offer"] = line_offer(forms, offer) if offer else None
    found["created_at"], found["updated_at"] = forms.at(line.created_at), forms.at(line.updated_at)
    if not forms.settings.line_id_key:
        del found["id"]
    return found
