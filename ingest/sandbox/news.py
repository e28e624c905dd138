"""The events of the shop except orders: prices, names, products, buyers, an unannounced status."""

import datetime as dt
from collections.abc import Iterator
from random import Random

import msgspec

from ingest.sandbox import catalogue, people, reference, stock
from ingest.sandbox.records import Manager, Offer, Product
from ingest.sandbox.stamps import DAY, HOUR, day_start
from ingest.sandbox.store import Store

OPENING, PRICE, COST, RENAME, ARCHIVE, NEW_PRODUCT, BUYER, MERGE, CATEGORY, STATUS, MANAGER, COPY = range(12)
_EVERY = (
    (PRICE, 0.6),
    (COST, 0.5),
    (RENAME, 0.12),
    (ARCHIVE, 0.08),
    (NEW_PRODUCT, 0.1),
    (BUYER, 0.7),
    (CATEGORY, 0.02),
)
_NEW_MANAGER_AFTER = 50 * DAY


class Item(msgspec.Struct, frozen=True, order=True):
    """One event: its time, an id (0: drawn by ``share``), its kind, and the drawn share."""

    at: int
    number: int
    kind: int
    share: float = 0.0


def of_day(rng: Random, day: dt.date, *, opened: int) -> Iterator[Item]:
    """Yield the events of a day. Each has only its time and a draw; ``apply`` decides the rest."""
    start, end = day_start(day), day_start(day + dt.timedelta(days=1))
    yield Item(start, 0, OPENING, rng.random())
    for kind, share in _EVERY:
        if rng.random() < share:
            yield Item(start + 7 * HOUR + rng.randrange(12 * HOUR), 0, kind, rng.random())
    for after, kind in ((reference.NEW_STATUS_AFTER, STATUS), (_NEW_MANAGER_AFTER, MANAGER)):
        if start <= opened + after < end:
            yield Item(opened + after, 0, kind)


def apply(store: Store, item: Item) -> None:
    """Apply one event to the store."""
    store.revision += 1
    if item.kind == OPENING:
        _open(store, item.at, item.share)
    elif item.kind == BUYER:
        _change_buyer(store, item)
    elif item.kind == MERGE:
        _merge(store, item)
    elif item.kind == STATUS:
        labels = store.settings.builtin_names == "label"
        new = reference.status(reference.LATE_STATUS, item.at, labels=labels)
        store.statuses.setdefault(new.id, new)
    elif item.kind == MANAGER:
        store.managers.setdefault(
            24, Manager(24, "Новенька", None, "manager24", 2, "active", item.at, item.at, 0)
        )
    elif item.kind == CATEGORY:
        shelf = list(store.shelves.categories.values())[int(item.share * len(store.shelves.categories))]
        shelf.name = shelf.name.removesuffix(" ✿") if shelf.name.endswith(" ✿") else f"{shelf.name} ✿"
    elif item.kind == NEW_PRODUCT:
        catalogue.new_product(Random(f"{store.settings.seed}:{item.at}:product"), store.shelves, at=item.at)
    else:
        _change_product(store, item)


def _open(store: Store, at: int, share: float) -> None:
    """Open a day: managers logged in the day before, and goods are restocked every third day on average."""
    for manager in store.managers.values():
        if manager.status == "active":
            manager.last_logged_at = at - 9 * HOUR + manager.id * 97
    if share < 0.34:
        stock.restock(store.shelves.offers)


def _change_product(store: Store, item: Item) -> None:
    products = store.shelves.products
    product = products[1 + int(item.share * len(products))]
    product.updated_at = max(product.updated_at, item.at)
    if item.kind == PRICE:
        step = 110 if item.at % 2 else 95
        for offer in product.offers:
            _price(product, offer, step)
    elif item.kind == COST:
        for offer in product.offers:
            offer.cost = (offer.cost or offer.price // 2) * (107 if item.at % 3 else 96) // 100
    elif item.kind == RENAME:
        name, renamed, _ = product.name.partition(" (")
        product.name = name if renamed else f"{name} (оновлена формула)"
    else:
        product.is_archived = not product.is_archived


def _price(product: Product, offer: Offer, percent: int) -> None:
    """Change a price. Goods sold by weight have prices in steps of four hryvnias, which divide evenly."""
    grain = 400 if product.unit_type else 100
    offer.price = max(offer.price * percent // 100 // grain * grain, grain)


def _change_buyer(store: Store, item: Item) -> None:
    """Change a buyer: the name or the note."""
    if not store.buyers:
        return
    buyer = store.buyers[store.survivor(1 + int(item.share * len(store.buyers))) - 1]
    if item.at % 2:
        buyer.full_name = people.full_name(Random(f"{store.settings.seed}:{item.at}:name"))
    else:
        buyer.note = "Просить дзвонити після 18:00"
    buyer.updated_at = max(buyer.updated_at, item.at)


def _merge(store: Store, item: Item) -> None:
    """Merge a buyer into the older card with the same phone."""
    loser = store.buyer(item.number)
    for phone in loser.phones:
        first = store.buyer(store.survivor(store.by_phone[phone][0]))
        store.merge(loser, first, at=item.at)
