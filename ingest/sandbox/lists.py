"""The lists and single records of the shop as plain JSON values."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from ingest.sandbox import query, reference, selection
from ingest.sandbox.payload import goods, people, short, travel
from ingest.sandbox.payload import orders as order_payload
from ingest.sandbox.payload.forms import Forms, Json
from ingest.sandbox.query import Query
from ingest.sandbox.records import Buyer, Offer, Product
from ingest.sandbox.store import Store

_T = TypeVar("_T")


class Lists:
    """Reads the lists and single records of one store as plain JSON values."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._forms = Forms(store.settings)
        self._orders = selection.Orders(store)
        self._cards: tuple[object, list[Buyer]] = (None, [])

    def orders(self, asked: Query) -> tuple[list[Json], int]:
        """Return a page of orders and the number of all orders."""
        found, total = self._orders.page(asked)
        return [order_payload.order(self._forms, self.store, order, asked.include) for order in found], total

    def order(self, id: int, include: Sequence[str]) -> Json:
        """Return one order. Raises KeyError if it does not exist or was deleted."""
        order = self.store.order(id)
        if order.deleted_at:
            raise KeyError(id)
        return order_payload.order(self._forms, self.store, order, include)

    def buyers(self, asked: Query) -> tuple[list[Json], int]:
        """Return a page of buyers and the number of all buyers."""
        wanted = (
            self.store.revision,
            tuple(sorted(asked.filters.items())),
            tuple(sorted(asked.spans.items())),
        )
        if self._cards[0] != wanted:  # A client usually reads the pages of one list one after another.
            self._cards = wanted, list(self._buyers(asked))
        page, total = _cut(asked, self._cards[1])
        return [people.buyer(self._forms, self.store, buyer, asked.include) for buyer in page], total

    def buyer(self, id: int, include: Sequence[str]) -> Json:
        """Return one buyer. Raises KeyError if it does not exist or was merged into another."""
        buyer = self.store.buyer(id)
        if buyer.merged_into:
            raise KeyError(id)
        return people.buyer(self._forms, self.store, buyer, include)

    def _buyers(self, asked: Query) -> Iterable[Buyer]:
        ids = query.identifiers(asked.filters, "buyer_id")
        phones, emails = query.words(asked.filters, "buyer_phone"), query.words(asked.filters, "buyer_email")
        dialled = None if phones is None else {query.dialled(phone) for phone in phones}
        created, updated = asked.spans.get("created_between"), asked.spans.get("updated_between")
        for buyer in self.store.live_buyers:
            if (
                (ids is None or buyer.id in ids)
                and (dialled is None or dialled.intersection(buyer.phones))
                and (emails is None or emails.intersection(buyer.emails))
                and (created is None or created[0] <= buyer.created_at <= created[1])
                and (updated is None or updated[0] <= buyer.updated_at <= updated[1])
            ):
                yield buyer

    def products(self, asked: Query) -> tuple[list[Json], int]:
        """Return a page of products and the number of all products."""
        ids, shelves = (
            query.identifiers(asked.filters, "product_id"),
            query.identifiers(asked.filters, "category_id"),
        )
        archived = query.truth(asked.filters, "is_archived")
        found = [
            product
            for product in self.store.shelves.products.values()
            if not product.is_removed
            and (ids is None or product.id in ids)
            and (shelves is None or product.category_id in shelves)
            and (archived is None or product.is_archived == archived)
        ]
        page, total = _cut(asked, found)
        return [goods.product(self._forms, product, asked.include) for product in page], total

    def product(self, id: int, include: Sequence[str]) -> Json:
        """Return one product. Raises KeyError if it does not exist."""
        product: Product = self.store.shelves.products[id]
        if product.is_removed:
            raise KeyError(id)
        return goods.product(self._forms, product, include)

    def categories(self, asked: Query) -> tuple[list[Json], int]:
        """Return a page of categories and the number of all categories."""
        ids, parents = (
            query.identifiers(asked.filters, "category_id"),
            query.identifiers(asked.filters, "parent_id"),
        )
        found = [
            category
            for category in self.store.shelves.categories.values()
            if (ids is None or category.id in ids) and (parents is None or category.parent_id in parents)
        ]
        page, total = _cut(asked, found)
        return [goods.category(category) for category in page], total

    def users(self, asked: Query) -> tuple[list[Json], int]:
        """Return a page of managers and the number of all managers."""
        ids, roles = query.identifiers(asked.filters, "id"), query.identifiers(asked.filters, "role_id")
        rows = [
            people.manager(self._forms, manager)
            for manager in self.store.managers.values()
            if (ids is None or manager.id in ids)
            and (roles is None or manager.role_id in roles)
            and _inside(asked, "created_between", manager.created_at)
            and _inside(asked, "last_logged_between", manager.last_logged_at)
        ]
        plain = {
            name: asked.filters[name]
            for name in ("full_name", "status", "email", "phone")
            if name in asked.filters
        }
        return _cut(asked, [row for row in rows if all(row[name] == value for name, value in plain.items())])

    def offers(self, asked: Query) -> tuple[list[Json], int]:
        """Return a page of offers and the number of all offers."""
        archived = query.truth(asked.filters, "is_archived")
        products = self.store.shelves.products
        found = [
            offer
            for offer in self._listed(asked, "id", "sku", query.identifiers(asked.filters, "product_id"))
            if archived is None or products[offer.product_id].is_archived == archived
        ]
        if asked.sort.removeprefix("-") == "product_id":
            found.sort(key=lambda offer: (offer.product_id, offer.id))
        page, total = _cut(asked, found)
        return [goods.offer(self._forms, self.store, offer, asked.include) for offer in page], total

    def stocks(self, asked: Query) -> tuple[list[Json], int]:
        """Return a page of the present stock and the number of all offers."""
        details = query.truth(asked.filters, "details") or False
        page, total = _cut(asked, self._listed(asked, "offers_id", "offers_sku", None))
        return [goods.stock(self._forms, offer, details=details) for offer in page], total

    def _listed(self, asked: Query, id: str, sku: str, products: frozenset[int] | None) -> list[Offer]:
        ids, skus = query.identifiers(asked.filters, id), query.words(asked.filters, sku)
        known = self.store.shelves.products
        return [
            offer
            for offer in self.store.shelves.offers
            if offer.is_listed
            and not known[offer.product_id].is_removed
            and (ids is None or offer.id in ids)
            and (skus is None or offer.sku in skus)
            and (products is None or offer.product_id in products)
        ]

    def statuses(self, asked: Query) -> tuple[list[Json], int]:
        """Return a page of the active statuses; retired ones are not listed."""
        active = [status for status in self.store.statuses.values() if status.is_active]
        page, total = _cut(asked, sorted(active, key=lambda status: status.id))
        return [short.status(self._forms, status) for status in page], total

    def sources(self, asked: Query) -> tuple[list[Json], int]:
        """Return a page of channels."""
        page, total = _cut(asked, list(self.store.sources.values()))
        return [short.source(self._forms, source) for source in page], total

    def expense_types(self, asked: Query) -> tuple[list[Json], int]:
        """Return a page of expense types."""
        page, total = _cut(asked, list(self.store.expense_types.values()))
        return [short.expense_type(kind) for kind in page], total

    def payment_methods(self, asked: Query) -> tuple[list[Json], int]:
        """Return a page of payment methods."""
        keys = ("id", "name", "alias", "is_active")
        return _cut(asked, [dict(zip(keys, row, strict=True)) for row in reference.PAYMENT_METHODS])

    def delivery_services(self, asked: Query) -> tuple[list[Json], int]:
        """Return a page of delivery services."""
        return _cut(asked, [dict(travel.SERVICE)])

    def custom_fields(self, models: frozenset[str] | None, *, options: bool) -> list[Json]:
        """Return the definitions of the custom fields of ``models``, or of all; this list has no pages."""
        rows = [short.custom_field(row, options=options) for row in reference.CUSTOM_FIELDS]
        return [row for row in rows if not models or row["model"] in models]

    def tags(self, asked: Query) -> tuple[list[Json], int]:
        """Return a page of tags."""
        return _cut(asked, [short.tag(self._forms, row) for row in reference.TAGS])


def _inside(asked: Query, name: str, at: int) -> bool:
    since, until = asked.spans.get(name, (0, at))
    return since <= at <= until


def _cut(asked: Query, rows: Sequence[_T]) -> tuple[list[_T], int]:
    """Return the requested page of ``rows`` and their number; a sort that begins with "-" is descending."""
    start = (asked.page - 1) * asked.limit
    ordered = rows[::-1] if asked.sort.startswith("-") else rows
    return list(ordered[start : start + asked.limit]), len(rows)
