"""Erasure: the personal data of a buyer, and the tables that have it.

A redacted payload keeps only the typed fields, which the shop's numbers are made of. All other
fields are removed, whatever their names, because any of them may contain personal data. The
content hash stays: if the CRM shows unchanged content, it is no new state and does not bring the
person back. A card or an order that changes later does, so erase the person in the CRM first.
"""

from typing import Any

import msgspec
import pyarrow.compute as pc

from ingest.entities import BUYERS, ORDERS, ExpenseIn, LineIn, Offer, OrderIn
from ingest.object_ids import id_of
from ingest.schemas import EXPENSES, LINES
from lake.delta.tables import open_table, table_exists
from lake.maintenance.redaction import Redaction
from lake.paths import Lake

# Fields of a buyer's card that stay.
CARD_FIELDS = ("id", "manager_id", "created_at", "updated_at")
# Typed fields that people write freely.
FREE_TEXT = {"comment", "description"}
Json = dict[str, Any]


def redactions_of(lake: Lake, buyer: int) -> list[Redaction]:
    """Return the redactions that remove the buyer's personal data; ids, money and times stay."""
    buyers, orders = frozenset({buyer}), orders_of(lake, buyer)
    rejected = frozenset({BUYERS.name, ORDERS.name})
    return [
        Redaction(
            "bronze.rejected", "entity", rejected, {"payload": lambda text: redact_rejected(text, buyer)}
        ),
        Redaction(LINES.table, "order_id", orders, {"comment": nothing}),
        Redaction(EXPENSES.table, "order_id", orders, {"description": nothing}),
        Redaction(ORDERS.table, "buyer_id", buyers, {"payload": order_payload}),
        Redaction(
            BUYERS.table,
            "id",
            buyers,
            {
                "payload": card_payload,
                "full_name": nothing,
                "birthday": nothing,
                "note": nothing,
                "phone": no_texts,
                "email": no_texts,
            },
        ),
        Redaction(
            "silver.buyers",
            "id",
            buyers,
            {"name": nothing, "birthday": nothing, "phones": no_texts, "emails": no_texts},
        ),
        Redaction("silver.orders", "buyer_id", buyers, {"buyer_name": nothing}),
    ]


def orders_of(lake: Lake, buyer: int) -> frozenset[int]:
    """Return the orders that ever belonged to the buyer."""
    if not table_exists(lake, ORDERS.table):
        return frozenset()
    rows = open_table(lake, ORDERS.table).read(["id"], pc.field("buyer_id") == buyer)
    return frozenset(rows["id"].to_pylist())


def other_cards(lake: Lake, buyer: int) -> frozenset[int]:
    """Return the buyers that ever had a phone or an e-mail of this one: each checkout may make a card.

    If the buyer is erased first, these cards can no longer be found.
    """
    if not table_exists(lake, BUYERS.table):
        return frozenset()
    rows = open_table(lake, BUYERS.table).read(["id", "phone", "email"]).to_pylist()
    contacts = [
        (row["id"], {text.lower() for text in (row["phone"] or []) + (row["email"] or [])}) for row in rows
    ]
    own = set().union(*(values for card, values in contacts if card == buyer))
    return frozenset(card for card, values in contacts if values & own and card != buyer)


def nothing(value: object) -> None:
    """Return None for any value."""
    return None


def no_texts(values: list[str] | None) -> list[str] | None:
    """Return an empty list instead of a list."""
    return None if values is None else []


def card_payload(text: str | None) -> str | None:
    """Return a buyer's card without personal data."""
    card = decode_object(text)
    return text if card is None else encode({key: card[key] for key in CARD_FIELDS if key in card})


def order_payload(text: str | None) -> str | None:
    """Return an order with its typed fields; included objects are reduced to their ids."""
    order = decode_object(text)
    return text if order is None else encode(redacted_order(order))


def redacted_order(order: Json) -> Json:
    """Return the fields of an order that are not personal."""
    redacted = typed_fields(order, OrderIn)
    for name in ("buyer", "manager"):
        if isinstance(order.get(name), dict):
            redacted[name] = {"id": order[name].get("id")}
    for name, kind in (("products", LineIn), ("expenses", ExpenseIn)):
        parts = parts_of(order.get(name))
        if parts is not None:
            redacted[name] = [redacted_part(part, kind) for part in parts]
    return redacted


def parts_of(value: object) -> list[Json] | None:
    """Return the objects in a list, or in an object that PHP writes for one; None if it is neither."""
    values = list(value.values()) if isinstance(value, dict) else value
    return [part for part in values if isinstance(part, dict)] if isinstance(values, list) else None


def redacted_part(part: Json, kind: type[msgspec.Struct]) -> Json:
    """Return the fields of a line or an expense that are not personal."""
    redacted = typed_fields(part, kind)
    if isinstance(part.get("offer"), dict):
        redacted["offer"] = typed_fields(part["offer"], Offer)
    return redacted


def redact_rejected(text: str, buyer: int) -> str:
    """Return a rejected payload without personal data if it is the buyer's card or order; else unchanged."""
    value = decode_object(text)
    if value is None:
        return text
    included = value.get("buyer")
    owner = included.get("id") if isinstance(included, dict) else None
    if buyer in (id_of(value.get("client_id")), id_of(owner)):
        return encode(redacted_order(value))
    is_card = id_of(value.get("id")) == buyer and "grand_total" not in value
    return encode({key: value[key] for key in CARD_FIELDS if key in value}) if is_card else text


def typed_fields(value: Json, kind: type[msgspec.Struct]) -> Json:
    """Return the keys that the Struct has, except those that people write freely.

    A list or an object is left out: in a field of another type it may contain anything.
    """
    names = {field.encode_name for field in msgspec.structs.fields(kind)} - FREE_TEXT
    return {key: item for key, item in value.items() if key in names and not isinstance(item, dict | list)}


def decode_object(text: str | None) -> Json | None:
    """Return the object in a payload; None if it has none."""
    try:
        value = msgspec.json.decode(text or "null")
    except msgspec.DecodeError:
        return None
    return value if isinstance(value, dict) else None


def encode(value: Json) -> str:
    """Return the object as JSON."""
    return msgspec.json.encode(value).decode()
