"""What of a buyer is personal, and where the lake holds it.

Of a payload stays what the shop's numbers are made of, the fields that are typed; all
else goes, whatever it is called, for a person may be in any of it. The hash of the
content stays too: what the CRM shows unchanged is no news, and does not bring the person
back. A card or an order that changes afterwards does: erase the person in the CRM first.
"""

from typing import Any

import msgspec
import pyarrow.compute as pc

from ingest.entities import BUYERS, ORDERS, ExpenseIn, LineIn, Offer, OrderIn
from ingest.schemas import EXPENSES, LINES
from lake.delta.table import open_table, table_exists
from lake.maintenance.erasure import Redaction
from lake.paths import Lake

OF_CARD = ("id", "manager_id", "created_at", "updated_at")
FREE_TEXT = {"comment", "description"}
Json = dict[str, Any]


def redactions_of(lake: Lake, buyer: int) -> list[Redaction]:
    """Return what to change where, so that nothing says who the buyer is; ids, money and times stay."""
    who, whose = frozenset({buyer}), orders_of(lake, buyer)
    rejected = frozenset({BUYERS.name, ORDERS.name})
    return [
        Redaction("bronze.rejected", "entity", rejected, {"payload": lambda text: refused(text, buyer)}),
        Redaction(LINES.table, "order_id", whose, {"comment": nothing}),
        Redaction(EXPENSES.table, "order_id", whose, {"description": nothing}),
        Redaction(ORDERS.table, "buyer_id", who, {"payload": order_payload}),
        Redaction(
            BUYERS.table,
            "id",
            who,
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
            who,
            {"name": nothing, "birthday": nothing, "phones": no_texts, "emails": no_texts},
        ),
        Redaction("silver.orders", "buyer_id", who, {"buyer_name": nothing}),
    ]


def orders_of(lake: Lake, buyer: int) -> frozenset[int]:
    """Return the orders that were ever seen as the buyer's."""
    if not table_exists(lake, ORDERS.table):
        return frozenset()
    rows = open_table(lake, ORDERS.table).read(["id"], pc.field("buyer_id") == buyer)
    return frozenset(rows["id"].to_pylist())


def other_cards(lake: Lake, buyer: int) -> frozenset[int]:
    """Return the buyers that ever had a phone or an e-mail of this one: a checkout makes a card each time.

    Once the buyer is erased nothing is left to tell them by.
    """
    if not table_exists(lake, BUYERS.table):
        return frozenset()
    rows = open_table(lake, BUYERS.table).read(["id", "phone", "email"]).to_pylist()
    contacts = [
        (row["id"], {text.lower() for text in (row["phone"] or []) + (row["email"] or [])}) for row in rows
    ]
    own = set().union(*(found for card, found in contacts if card == buyer))
    return frozenset(card for card, found in contacts if found & own and card != buyer)


def nothing(value: object) -> None:
    """Return nothing, whatever there was."""
    return None


def no_texts(values: list[str] | None) -> list[str] | None:
    """Return an empty list for a list."""
    return None if values is None else []


def card_payload(text: str | None) -> str | None:
    """Return a buyer's card with nothing of a person in it."""
    card = decoded(text)
    return text if card is None else encoded({key: card[key] for key in OF_CARD if key in card})


def order_payload(text: str | None) -> str | None:
    """Return an order with what its numbers are made of; what is included stays by its id."""
    order = decoded(text)
    return text if order is None else encoded(order_of(order))


def order_of(order: Json) -> Json:
    """Return what of an order is no person's."""
    kept = typed(order, OrderIn)
    for name in ("buyer", "manager"):
        if isinstance(kept.get(name), dict):
            kept[name] = {"id": kept[name].get("id")}
    for name, kind in (("products", LineIn), ("expenses", ExpenseIn)):
        if isinstance(kept.get(name), list):
            kept[name] = [typed(part, kind) for part in kept[name] if isinstance(part, dict)]
    for line in kept.get("products") or []:
        if isinstance(line, dict) and isinstance(line.get("offer"), dict):
            line["offer"] = typed(line["offer"], Offer)
    return kept


def refused(text: str, buyer: int) -> str:
    """Return a refused payload without the person, if it is the buyer's card or order; else as it is."""
    found = decoded(text)
    if found is None:
        return text
    included = found.get("buyer")
    owner = included.get("id") if isinstance(included, dict) else None
    if buyer in (found.get("client_id"), owner):
        return encoded(order_of(found))
    is_card = found.get("id") == buyer and "grand_total" not in found
    return encoded({key: found[key] for key in OF_CARD if key in found}) if is_card else text


def typed(value: Json, kind: type[msgspec.Struct]) -> Json:
    """Return the keys that the Struct names, but for what people write freely."""
    names = {field.encode_name for field in msgspec.structs.fields(kind)} - FREE_TEXT
    return {key: item for key, item in value.items() if key in names}


def decoded(text: str | None) -> Json | None:
    """Return a payload's object; None where it is none."""
    try:
        found = msgspec.json.decode(text or "null")
    except msgspec.DecodeError:
        return None
    return found if isinstance(found, dict) else None


def encoded(value: Json) -> str:
    """Return the object as JSON."""
    return msgspec.json.encode(value).decode()
