"""Products, offers, stock and categories."""

from collections.abc import Collection

from ingest.sandbox.payload.forms import Forms, Json, quantity
from ingest.sandbox.records import Category, Offer, Product
from ingest.sandbox.store import Store

BRAND_FIELD = "CT_1001"
LINE_FIELD = "CT_1002"


def product(forms: Forms, product: Product, include: Collection[str] = ()) -> Json:
    """Return a product; it has an SKU and prices of its own only if it has no variants."""
    found = _plain(forms, product)
    if not product.has_offers:
        offer = product.offers[0]
        found |= {
            "sku": offer.sku,
            "barcode": None,
            "price": forms.amount(offer.price),
            "purchased_price": forms.amount_or_null(offer.cost),
        }
    if "custom_fields" in include:
        found["custom_fields"] = _product_fields(product)
    return found


def _plain(forms: Forms, product: Product) -> Json:
    prices = [offer.price for offer in product.offers]
    return {
        "id": product.id,
        "name": product.name,
        "description": None,
        "thumbnail_url": f"https://kramnytsia.example/i/{product.id}.webp",
        "attachments_data": [],
        "quantity": quantity(sum(offer.quantity for offer in product.offers)),
        "in_reserve": quantity(sum(offer.reserve for offer in product.offers)),
        "unit_type": product.unit_type,
        "currency_code": "UAH",
        "min_price": forms.amount(min(prices)),
        "max_price": forms.amount(max(prices)),
        "weight": None,
        "length": None,
        "width": None,
        "height": None,
        "has_offers": product.has_offers,
        "is_archived": product.is_archived,
        "category_id": product.category_id or None,
        "created_at": forms.at(product.created_at),
        "updated_at": forms.at(product.updated_at),
    }


def line_offer(forms: Forms, offer: Offer) -> Json:
    """Return the offer in its present state, which may differ from the state at the sale."""
    return {
        "id": offer.id,
        "product_id": offer.product_id,
        "sku": offer.sku,
        "barcode": None,
        "price": forms.amount(offer.price),
        "purchased_price": forms.amount_or_null(offer.cost),
        "quantity": quantity(offer.quantity),
        "weight": None,
        "length": None,
        "width": None,
        "height": None,
        "properties": properties(offer),
    }


def offer(forms: Forms, store: Store, offer: Offer, include: Collection[str] = ()) -> Json:
    """Return an offer; it has no name."""
    product = store.shelves.products[offer.product_id]
    found = line_offer(forms, offer) | {
        "thumbnail_url": None,
        "in_reserve": quantity(offer.reserve),
        "is_archived": product.is_archived,
    }
    if "product" in include:
        sizes = [each.volume for each in product.offers if each.volume]
        found["product"] = _plain(forms, product) | {"properties_agg": {"Об'єм": sizes} if sizes else []}
    return found


def stock(forms: Forms, offer: Offer, *, details: bool) -> Json:
    """Return the present stock; with ``details`` also by warehouse, and these parts add up to it."""
    found: Json = {
        "id": offer.id,
        "sku": offer.sku,
        "price": forms.amount(offer.price),
        "purchased_price": forms.amount_or_null(offer.cost),
        "quantity": quantity(offer.quantity),
        "reserve": quantity(offer.reserve),
    }
    if details:
        away = max(offer.quantity, 0) // 4000 * 1000 if offer.id % 5 == 0 else 0
        parts = [(1, "Основний", offer.quantity - away, offer.reserve), (2, "Магазин", away, 0)]
        found["warehouse"] = [
            {"id": id, "name": name, "quantity": quantity(there), "reserve": quantity(reserve)}
            for id, name, there, reserve in parts
        ]
    return found


def category(category: Category) -> Json:
    """Return a category; it has no times."""
    return {"id": category.id, "name": category.name, "parent_id": category.parent_id or None}


def properties(offer: Offer | None) -> list[Json]:
    """Return the properties in which one variant differs from the others."""
    return [{"name": "Об'єм", "value": offer.volume}] if offer and offer.volume else []


def _product_fields(product: Product) -> list[Json]:
    if product.brand_form == "absent":
        return []
    value = [product.brand] if product.brand else []
    brand = {"id": 3, "uuid": BRAND_FIELD, "name": "Brand", "type": "select", "value": value}
    line = {"id": 4, "uuid": LINE_FIELD, "name": "Лінія", "type": "text", "value": "Базова"}
    return [line, brand] if product.id % 4 == 0 else [brand]
