"""Edits of everything except orders: buyers, goods and reference lists."""

from ingest.sandbox.edits.kinds import (
    AddBuyer,
    AddManager,
    AddSource,
    AddStatus,
    EditProduct,
    MergeBuyers,
    Rename,
    SetStock,
)
from ingest.sandbox.edits.orders import kopecks
from ingest.sandbox.query import dialled
from ingest.sandbox.records import Buyer, Manager, Source, Status
from ingest.sandbox.world import World


def edit_buyers(world: World, edit: AddBuyer | MergeBuyers) -> int:
    """Enter or merge a card and return the id of the card that remains."""
    store, at = world.store, world.at
    if isinstance(edit, AddBuyer):
        id, phones = len(store.buyers) + 1, tuple(dialled(phone) for phone in edit.phones)
        store.add_buyer(Buyer(id, edit.full_name, phones, edit.emails, id % 10, at, at, []))
        return id
    store.merge(store.buyer(edit.loser_id), store.buyer(edit.survivor_id), at=at)
    return edit.survivor_id


def rename(world: World, edit: Rename) -> int:
    """Rename a record and return its id."""
    store, at = world.store, world.at
    if edit.what == "buyer":
        buyer = store.buyer(edit.id)
        buyer.full_name, buyer.updated_at = edit.name, at
    elif edit.what == "product":
        product = store.shelves.products[edit.id]
        product.name, product.updated_at = edit.name, at
    elif edit.what == "category":
        store.shelves.categories[edit.id].name = edit.name
    elif edit.what == "manager":
        manager = store.managers[edit.id]
        manager.first_name, manager.last_name, manager.updated_at = edit.name, None, at
    elif edit.what == "expense_type":
        store.expense_types[edit.id].name = edit.name
    else:
        record: Source | Status = (store.sources if edit.what == "source" else store.statuses)[edit.id]
        record.name, record.updated_at = edit.name, at
    store.revision += 1
    return edit.id


def edit_goods(world: World, edit: EditProduct | SetStock) -> int:
    """Change a product or the stock of an offer and return its id."""
    store = world.store
    store.revision += 1
    if isinstance(edit, SetStock):
        store.shelves.offers[edit.offer_id - 1].quantity = int(edit.quantity * 1000)
        return edit.offer_id
    product = store.shelves.products[edit.product_id]
    for offer in product.offers:
        offer.price = offer.price if edit.price is None else kopecks(edit.price)
        offer.cost = offer.cost if edit.cost is None else kopecks(edit.cost)
    if edit.brand is not None:
        product.brand, product.brand_form = edit.brand or None, "value" if edit.brand else "empty"
    product.category_id = product.category_id if edit.category_id is None else edit.category_id
    product.is_archived = product.is_archived if edit.is_archived is None else edit.is_archived
    product.is_removed = product.is_removed if edit.is_removed is None else edit.is_removed
    product.updated_at = world.at
    return product.id


def add_reference(world: World, edit: AddStatus | AddSource | AddManager) -> int:
    """Create a status, channel or manager and return its id."""
    store, at = world.store, world.at
    store.revision += 1
    alias = f"custom-{edit.id}"
    if isinstance(edit, AddStatus):
        store.statuses[edit.id] = Status(
            edit.id, edit.name, alias, edit.group_id, edit.group_id > 4, edit.group_id < 6, at, at, edit.name
        )
    elif isinstance(edit, AddSource):
        store.sources[edit.id] = Source(edit.id, edit.name, alias, edit.driver, None, None, at, at)
    else:
        store.managers[edit.id] = Manager(
            edit.id, edit.name, None, f"manager{edit.id}", 2, "active", at, at, 0
        )
    return edit.id
