"""The checkout: it draws the buyer, the goods, the channel and the prices of each order."""

from collections.abc import Callable
from random import Random

from msgspec.structs import replace

from ingest.sandbox import catalogue, lives, money, news, people, reference
from ingest.sandbox.records import Buyer, Line, Offer, Order
from ingest.sandbox.reference import FAIR, INSTAGRAM, OPENCART, SHOPIFY, TELEGRAM, WHOLESALE_MANAGER
from ingest.sandbox.stamps import DAY, HOUR
from ingest.sandbox.store import Store

_TABLE = 8192
_MOST_ORDERS = 120


def _weights(*pairs: tuple[int, int]) -> tuple[int, ...]:
    return tuple(value for value, weight in pairs for _ in range(weight))


_SOURCES = _weights((INSTAGRAM, 38), (TELEGRAM, 14), (SHOPIFY, 48))
_EARLY_SOURCES = _weights((INSTAGRAM, 38), (TELEGRAM, 14), (OPENCART, 32), (SHOPIFY, 16))
_CHAT_MANAGERS = _weights(
    (22, 33), (4, 25), (16, 20), (8, 7), (11, 6), (WHOLESALE_MANAGER, 3), (24, 2), (0, 4)
)
_WEB_MANAGERS = _weights((0, 82), (22, 8), (16, 5), (8, 3), (4, 2))
_FAIR_MANAGERS = _weights((16, 5), (11, 3), (0, 2))
_LINES = _weights((1, 24), (2, 22), (3, 17), (4, 13), (5, 9), (6, 6), (7, 4), (8, 2), (10, 2), (14, 1))
_QUANTITIES = _weights((1000, 88), (2000, 9), (3000, 2), (5000, 1))
_WEIGHTS = (250, 500, 750, 1500)
_PERCENTS = (5, 10, 10, 15, 20, 12)


class Checkout:
    """Places orders into the store. It draws from the day's random stream, in order of time."""

    def __init__(
        self, store: Store, rng: Random, *, opened: int, announce: Callable[[news.Item], None]
    ) -> None:
        self._store = store
        self._opened = opened
        self._announce = announce
        self._rng = rng
        self._sources = _SOURCES
        self._numbers = {OPENCART: 900, SHOPIFY: 20_000}
        self._table = _popular(rng, store)

    def open_day(self, rng: Random, *, has_opencart: bool) -> None:
        """Start a day with its own random stream."""
        self._rng = rng
        self._sources = _EARLY_SOURCES if has_opencart else _SOURCES

    def shelves_changed(self, share: float) -> None:
        """Add the newest product to the table of popular offers, in place of others."""
        newest = self._store.shelves.offers[-1]
        for at in range(int(share * 64), _TABLE, 512):
            self._table[at] = newest

    def place(self, at: int, source_id: int) -> Order:
        """Place one order at ``at``. If ``source_id`` is 0, the source is drawn from the mix."""
        rng = self._rng
        random = rng.random
        source_id = source_id or self._sources[int(random() * 100)]
        manager_id = self._manager(source_id)
        wholesale = manager_id == WHOLESALE_MANAGER
        buyer = self._buyer(at, wholesale=wholesale, source_id=source_id)
        loyalty = buyer.loyalty if buyer and len(buyer.order_ids) > 2 else 0
        order = Order(
            len(self._store.orders) + 1, source_id, at, self._ordered(at, source_id, wholesale), at, 1, at,
            buyer.id if buyer else 0, manager_id, self._lines(at, loyalty, wholesale), loyalty=loyalty,
        )  # fmt: skip
        self._dress(order, wholesale)
        money.settle(order, extras=self._store.settings.extras_in_total)
        if source_id == SHOPIFY and random() < 0.6:
            order.paid, order.paid_at = order.grand_total, order.ordered_at
        elif wholesale or random() < 0.03:
            order.paid, order.paid_at = order.grand_total // 200 * 100, at
        self._store.add_order(order)
        return order

    def copy(self, original: Order, at: int) -> Order:
        """Copy an uncollected order to a new one and delete the old one, as shops do when a month ends."""
        store = self._store
        lines = tuple(self._renumbered(line, at) for line in original.lines)
        order = replace(
            original, id=len(store.orders) + 1, created_at=at, ordered_at=at, updated_at=at, status_id=1,
            status_changed_at=at, lines=lines, expenses=(), stock=0, tracking=0, shipped_at=0, closed_at=0,
            parent_id=0, buyer_id=store.survivor(original.buyer_id) if original.buyer_id else 0,
        )  # fmt: skip
        store.delete(original, at=at)
        store.add_order(order)
        return order

    def life(self, order: Order) -> list[lives.Step]:
        """Return the future steps of a new order."""
        times = lives.Times(
            has_late_status=reference.LATE_STATUS[0] in self._store.statuses,
            has_retired_status=order.created_at < self._opened + 30 * DAY,
        )
        return lives.steps(
            self._rng, self._store, order, times, wholesale=order.manager_id == WHOLESALE_MANAGER
        )

    def _renumbered(self, line: Line, at: int) -> Line:
        self._store.next_line += 1
        return replace(line, id=self._store.next_line - 1, created_at=at, updated_at=at)

    def _manager(self, source_id: int) -> int:
        draw = int(self._rng.random() * 100)
        if source_id in (SHOPIFY, OPENCART):
            return _WEB_MANAGERS[draw]
        if source_id == FAIR:
            return _FAIR_MANAGERS[draw // 10]
        manager_id = _CHAT_MANAGERS[draw]
        return manager_id if manager_id in self._store.managers or not manager_id else 22

    def _ordered(self, at: int, source_id: int, wholesale: bool) -> int:
        """Return the time of the sale that the order has when it is entered."""
        random = self._rng.random
        draw = random()
        if wholesale:
            return at + int((14 + random() * 26) * DAY) if draw < 0.5 else at
        if source_id == SHOPIFY:
            return at - 300 - int(draw * 900)
        if source_id == OPENCART:
            return at - 600 - int(draw * 3000)
        if draw < 0.7:
            return at
        if draw < 0.975:
            return at - int(random() * 3 * HOUR)
        return at + int(random() * 2 * DAY) if draw > 0.997 else at - int(random() * 3 * DAY)

    def _buyer(self, at: int, *, wholesale: bool, source_id: int) -> Buyer | None:
        """Return the buyer: a new card, an existing card, or a second card of an existing buyer."""
        store, random = self._store, self._rng.random
        draw, orders = random(), store.orders
        if draw > (0.4 if source_id == FAIR else 0.997):
            return None
        known = orders[int(random() * len(orders))].buyer_id if orders else 0
        if known and len(store.buyers[known - 1].order_ids) > _MOST_ORDERS:
            known = 0
        if not known or draw < 0.168 or (source_id != FAIR and draw < 0.42):
            buyer = people.new_buyer(self._rng, len(store.buyers) + 1, at=at, wholesale=wholesale)
        elif draw < 0.435 and store.buyers[known - 1].phones:
            buyer = people.duplicate(self._rng, store.buyers[known - 1], len(store.buyers) + 1, at=at)
            if random() < 0.4:
                self._announce(news.Item(at + int((3 + random() * 50) * DAY), buyer.id, news.MERGE))
        else:
            return store.buyers[store.survivor(known) - 1]
        store.add_buyer(buyer)
        return buyer

    def _lines(self, at: int, loyalty: int, wholesale: bool) -> tuple[Line, ...]:
        random = self._rng.random
        number = _LINES[int(random() * 100)] + (6 if wholesale else 0)
        return tuple([self._line(at, loyalty, wholesale) for _ in range(number)])

    def _line(self, at: int, loyalty: int, wholesale: bool) -> Line:
        store, random = self._store, self._rng.random
        id = store.next_line
        store.next_line = id + 1
        draw = random()
        if draw < 0.08:
            name = catalogue.ONE_OFFS[int(random() * 5)]
            price = int(random() * 300) * 100
            return Line(id, 0, 0, name, price, price, 0, 0, 0, None, 1000, at, at)
        offer = self._table[int(random() * _TABLE)]
        product = store.shelves.products[offer.product_id]
        quantity, price = _QUANTITIES[int(random() * 100)], offer.price
        percent = amount = 0
        if product.unit_type:
            loyalty, quantity = 0, _WEIGHTS[quantity // 1000 % 4]
        elif wholesale:
            percent, quantity = 25, quantity * 6
        elif draw > 0.82:
            percent = _PERCENTS[int(random() * 6)]
            amount = 35 if draw > 0.97 and price > 10_000 else 0
        sold = (
            money.sold_at(price, percent=percent, amount=amount, loyalty=loyalty)
            if percent or loyalty
            else price
        )
        return Line(
            id, offer.product_id, offer.id, product.name, price, sold, percent, amount, loyalty, offer.cost,
            quantity, at, at, draw > 0.96,
        )  # fmt: skip

    def _dress(self, order: Order, wholesale: bool) -> None:
        """Give the order its discount, extras, comments and number at the source."""
        random = self._rng.random
        draw, source_id = random(), order.source_id
        if draw < 0.025:
            order.is_gift, order.discount_percent = True, 100
        elif draw < 0.185:
            order.discount_percent = 5 if draw < 0.08 else 10
        elif draw < 0.21 and any(line.price_sold for line in order.lines):
            order.discount_percent, order.discount_amount = 3, 20
        if source_id in self._numbers:
            self._numbers[source_id] += 1
            order.source_number = self._numbers[source_id]
            order.utm = int(random() * 6)
            free = draw < 0.9 or order.is_gift
            order.shipping_price = 0 if free else 7000 + int(random() * 50) * 100
        if 0.21 < draw < 0.215:
            order.wrap_price = 3500
        elif 0.215 < draw < 0.218 and not wholesale:
            order.taxes = 1250
        if 0.3 < draw < 0.35:
            order.buyer_comment = "Подзвоніть за годину"


def _popular(rng: Random, store: Store) -> list[Offer]:
    """Return a table of offers to draw from: a few offers occur often, most of them rarely."""
    offers = list(store.shelves.offers)
    rng.shuffle(offers)
    weights = [(place + 12) ** -0.75 for place in range(len(offers))]
    scale = (_TABLE - len(offers)) / sum(weights)
    table = [
        offer for offer, weight in zip(offers, weights, strict=True) for _ in range(1 + int(weight * scale))
    ]
    return (table + offers)[:_TABLE]
