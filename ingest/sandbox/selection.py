"""The orders that match a query, sorted.

Without filters, or with one range of times, a page costs two bisections. Other filters test
every candidate once; their result is cached until the shop changes.
"""

from collections.abc import Callable, Iterable, Sequence
from random import Random

from ingest.sandbox import money, query
from ingest.sandbox.index import Index, entry, id_of, stamp_of
from ingest.sandbox.query import Query
from ingest.sandbox.records import Order
from ingest.sandbox.store import Store

FILTERS = (
    "status_id",
    "source_id",
    "source_uuid",
    "buyer_phone",
    "buyer_email",
    "created_between",
    "updated_between",
    "shipping_between",
    "payment_status",
    "has_tracking_code",
)
SORTS = ("id", "updated_at")
_KEPT = 64
Test = Callable[[Order], bool]


class Orders:
    """Answers queries for orders from a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._revision = -1
        self._known: dict[object, Sequence[int]] = {}
        self._asked = 0

    def page(self, asked: Query) -> tuple[list[Order], int]:
        """Return one page of orders and the number of all matches."""
        self._asked += 1
        sort = asked.sort or self._store.settings.default_sort
        start = (asked.page - 1) * asked.limit
        key, descending = sort.removeprefix("-"), sort.startswith("-")
        index, low, high = self._indexed(asked, key)
        if index is None:
            ids: Sequence[int] | _Window = self._looked_up(asked, key)
        else:
            ids = _Window(index, low, high)
        total = len(ids)
        start, stop = min(start, total), min(start + asked.limit, total)
        if descending:
            start, stop = total - stop, total - start
        if key == "id":
            found = [id_of(item) for item in ids[start:stop]]
        else:
            found = self._ties_afloat(ids, start, stop)
        if descending:
            found.reverse()
        return [self._store.orders[id - 1] for id in found], total

    def _stamp(self, name: str) -> str:
        if name == "created_between":
            return self._store.settings.created_between_on
        return "updated_at"

    def _indexed(self, asked: Query, key: str) -> tuple[Index | None, int, int]:
        """Return the index whose slice is the answer, or None."""
        if asked.filters or len(asked.spans) > 1 or "shipping_between" in asked.spans:
            return None, 0, 0
        if not asked.spans:
            index = self._store.orders_by(key)
            return index, 0, len(index)
        ((name, (since, until)),) = asked.spans.items()
        stamp = self._stamp(name)
        if stamp != key and not (stamp == "created_at" and key == "id" and self._store.in_order):
            return None, 0, 0
        index = self._store.orders_by(stamp)
        low = index.rank(entry(since, 0))
        return index, low, max(index.rank(entry(until + 1, 0)), low)

    def _looked_up(self, asked: Query, key: str) -> Sequence[int]:
        if self._revision != self._store.revision or len(self._known) > _KEPT:
            self._known, self._revision = {}, self._store.revision
        wanted = (key, tuple(sorted(asked.filters.items())), tuple(sorted(asked.spans.items())))
        if wanted not in self._known:
            stamp: Callable[[Order], int] = (
                (lambda order: order.updated_at) if key != "id" else (lambda order: 0)
            )
            self._known[wanted] = sorted(entry(stamp(order), order.id) for order in self._matching(asked))
        return self._known[wanted]

    def _matching(self, asked: Query) -> Iterable[Order]:
        tests = list(_tests(asked, self._store))
        for order in self._candidates(asked):
            if all(test(order) for test in tests):
                yield order

    def _candidates(self, asked: Query) -> Iterable[Order]:
        """Return the live orders within the first range of the query, or all of them."""
        for name in ("updated_between", "created_between"):
            if name in asked.spans:
                since, until = asked.spans[name]
                index = self._store.orders_by(self._stamp(name))
                slice_ = index.slice(index.rank(entry(since, 0)), index.rank(entry(until + 1, 0)))
                return [self._store.orders[id_of(item) - 1] for item in slice_]
        return [order for order in self._store.orders if not order.deleted_at]

    def _ties_afloat(self, ids: "Sequence[int] | _Window", start: int, stop: int) -> list[int]:
        """Return a page of ids. Orders with the same second change places from request to request."""
        if start >= stop:
            return []
        low, high, total = start, stop, len(ids)
        while low > 0 and stamp_of(ids[low - 1 : low][0]) == stamp_of(ids[low : low + 1][0]):
            low -= 1
        while high < total and stamp_of(ids[high : high + 1][0]) == stamp_of(ids[high - 1 : high][0]):
            high += 1
        draw = Random(self._asked)
        items = list(ids[low:high])
        shuffled = sorted(items, key=lambda item: (stamp_of(item), draw.random()))
        return [id_of(item) for item in shuffled[start - low : stop - low]]


class _Window:
    """A range of an index, sliced by position."""

    def __init__(self, index: Index, low: int, high: int) -> None:
        self._index, self._low, self._high = index, low, high

    def __len__(self) -> int:
        return self._high - self._low

    def __getitem__(self, part: slice) -> list[int]:
        return self._index.slice(self._low + part.start, self._low + part.stop)


def _tests(asked: Query, store: Store) -> Iterable[Test]:
    """Yield the condition of each filter of the query."""
    filters, spans = asked.filters, asked.spans
    statuses, sources = query.identifiers(filters, "status_id"), query.identifiers(filters, "source_id")
    numbers, states = query.words(filters, "source_uuid"), query.words(filters, "payment_status")
    buyers, tracked = _buyers(asked, store), query.truth(filters, "has_tracking_code")
    shipping = spans.get("shipping_between")
    if statuses is not None:
        yield lambda order: order.status_id in statuses
    if sources is not None:
        yield lambda order: order.source_id in sources
    if numbers is not None:
        yield lambda order: str(order.source_number) in numbers
    if states is not None:
        yield lambda order: money.payment_status(order) in states
    if buyers is not None:
        yield lambda order: order.buyer_id in buyers
    if tracked is not None:
        yield lambda order: bool(order.tracking) == tracked
    if shipping is not None:
        yield lambda order: shipping[0] <= order.shipped_at <= shipping[1]
    for name in ("created_between", "updated_between"):
        if name in spans:
            yield _within(store.settings.created_between_on if name[0] == "c" else "updated_at", spans[name])


def _within(stamp: str, span: tuple[int, int]) -> Test:
    since, until = span
    if stamp == "created_at":
        return lambda order: since <= order.created_at <= until
    if stamp == "ordered_at":
        return lambda order: since <= order.ordered_at <= until
    return lambda order: since <= order.updated_at <= until


def _buyers(asked: Query, store: Store) -> frozenset[int] | None:
    """Return the buyers that the query names. A phone matches any phone of a card, but only in full."""
    found: frozenset[int] | None = None
    phones, emails = query.words(asked.filters, "buyer_phone"), query.words(asked.filters, "buyer_email")
    if phones is not None:
        found = frozenset(id for phone in phones for id in store.by_phone.get(query.dialled(phone), ()))
    if emails is not None:
        mailed = frozenset(buyer.id for buyer in store.buyers if emails.intersection(buyer.emails))
        found = mailed if found is None else found & mailed
    return found
