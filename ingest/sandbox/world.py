"""The shop's history from its first day on; the same seed gives the same history.

Each day has its own random stream, which is used in order of time. So the number of advances
does not change the history.
"""

import datetime as dt
import heapq
from random import Random

from ingest.sandbox import catalogue, lives, news, rhythm
from ingest.sandbox.checkout import Checkout
from ingest.sandbox.records import Order
from ingest.sandbox.settings import Sandbox
from ingest.sandbox.stamps import day_start, moment, seconds
from ingest.sandbox.store import Store
from ingest.sandbox.truth import Truth, truth


class World:
    """A shop whose clock moves only by ``advance``."""

    def __init__(self, settings: Sandbox) -> None:
        self.settings = settings
        self.opened = day_start(settings.start)
        self.at = self.opened
        shelves = catalogue.stocked(
            Random(f"{settings.seed}:shelves"),
            opened=self.opened,
            offer_for_every=settings.offer_for_every_product,
        )
        self.store = Store(settings, shelves, opened=self.opened)
        self._day = settings.start
        self._until = self.opened
        self._arrivals: list[tuple[int, int]] = []
        self._news: list[news.Item] = []
        self._later: list[tuple[int, int, Order, lives.Step]] = []
        self._serial = 0
        self._checkout = Checkout(
            self.store, Random(f"{settings.seed}:popular"), opened=self.opened, announce=self._announce
        )
        self._open_day()

    @property
    def now(self) -> dt.datetime:
        """The shop's time, UTC."""
        return moment(self.at)

    def truth(self) -> Truth:
        """Return the shop's present records, without the API."""
        return truth(self.store, self.at)

    def advance(self, to: dt.datetime) -> None:
        """Apply every event up to and including ``to``; if it is in the past, nothing changes."""
        target = self._until = seconds(to)
        while self._later and self._later[0][0] <= target:
            _, _, order, step = heapq.heappop(self._later)
            lives.take(self.store, order, step)
        while True:
            self._live_day(target)
            following = self._day + dt.timedelta(days=1)
            if day_start(following) > target:
                break
            self._day = following
            self._open_day()
        self.at = max(self.at, target)

    def _open_day(self) -> None:
        """Draw the times of the day's orders and its other events."""
        settings, day = self.settings, self._day
        rng = Random(f"{settings.seed}:{day}")
        mean = rhythm.expected(day, per_day=settings.orders_per_day)
        arrivals = [(at, 0) for at in rhythm.instants(rng, day, rhythm.count(rng, mean))]
        if rhythm.is_fair(day):
            number = rhythm.count(rng, settings.orders_per_day * 0.8)
            arrivals += [(at, 5) for at in rhythm.instants(rng, day, number)]
        arrivals.sort(reverse=True)
        self._arrivals = arrivals
        self._checkout.open_day(rng, has_opencart=rhythm.has_opencart(day, first=settings.start))
        for item in news.of_day(Random(f"{settings.seed}:{day}:news"), day, opened=self.opened):
            self._announce(item)

    def _announce(self, item: news.Item) -> None:
        heapq.heappush(self._news, item)

    def _live_day(self, target: int) -> None:
        """Apply the day's orders and events in order of time, up to ``target``."""
        arrivals, waiting = self._arrivals, self._news
        end = day_start(self._day + dt.timedelta(days=1)) - 1
        target = min(target, end)
        while True:
            at = arrivals[-1][0] if arrivals else target + 1
            if waiting and waiting[0].at <= min(at, target):
                self._hear(heapq.heappop(waiting))
            elif at <= target:
                at, source_id = arrivals.pop()
                self._receive(self._checkout.place(at, source_id))
            else:
                return

    def _hear(self, item: news.Item) -> None:
        if item.kind == news.COPY:
            original = self.store.order(item.number)
            if not original.deleted_at:
                self._receive(self._checkout.copy(original, item.at))
        else:
            news.apply(self.store, item)
            if item.kind == news.NEW_PRODUCT:
                self._checkout.shelves_changed(item.share)

    def _receive(self, order: Order) -> None:
        """Plan the order's life and apply the steps that are due by the end of this advance."""
        for step in self._checkout.life(order):
            if step[1] == lives.COPY:
                self._announce(news.Item(step[0], order.id, news.COPY))
            elif step[0] <= self._until:
                lives.take(self.store, order, step)
            else:
                self._serial += 1
                heapq.heappush(self._later, (step[0], self._serial, order, step))
