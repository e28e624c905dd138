"""Walk: reading one window to its end, and knowing whether that was all of it.

Lists drift while they are walked, so a window counts only when every page arrived
and the distinct ids are as many as the CRM says there are, at the start and at the
end. Else it is walked again (a list without an order of its own shows on one walk what
it hid on the other), then in halves, then reported incomplete.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any

import msgspec

from ingest.client import Arrival, Client
from ingest.entities import ORDERS, Entity
from ingest.observations import Seen, look
from ingest.progress import Watch
from ingest.windows import Window, split
from lake.errors import KeyRefused, RequestRefused, SourceError
from lake.ledgers.runs import WindowReceipt

Keep = Callable[[Entity, list[Seen]], Awaitable[None]]
WALKS = 2  # tries at a window before it is halved
HALVINGS = 3


class Tally(msgspec.Struct):
    """What one walk of a window has met so far.

    ``earlier`` are the ids that a walk before it met, and ``counted`` how many the CRM said there were.
    """

    earlier: frozenset[int | str] = frozenset()
    counted: frozenset[int] = frozenset()
    ids: set[int | str] = msgspec.field(default_factory=set)
    totals: set[int] = msgspec.field(default_factory=set)
    stamps: list[datetime] = msgspec.field(default_factory=list)
    pages: int = 0
    fetched: int = 0
    failed: int = 0
    reason: str | None = None


class Walk:
    """Reads windows with the client and hands every page's rows to ``keep`` as it arrives.

    ``shown`` are the order ids that windows showed, whoever compares them clears them;
    ``latest`` is the greatest updated_at that a window of changed orders showed.
    """

    def __init__(self, client: Client, keep: Keep, watch: Watch) -> None:
        self._client = client
        # A page keeps its slot until its rows are taken: what waits to be written stays bounded.
        self.slots = asyncio.Semaphore(client.settings.max_in_flight)
        self.shown: set[int] = set()
        self.latest: datetime | None = None
        self._keep = keep
        self._watch = watch

    async def window(
        self, entity: Entity, window: Window, *, halvings: int = HALVINGS
    ) -> list[WindowReceipt]:
        """Read the window; return its receipt, or those of its parts where it had to be halved."""
        tally = Tally()
        for _ in range(WALKS):
            tally = Tally(tally.earlier | tally.ids, tally.counted | tally.totals)
            await self._once(entity, window, tally)
            receipt = receipt_of(entity, window, tally)
            if receipt.complete:
                break
        may_halve = halvings and not receipt.complete and not receipt.pages_failed
        halves = split(window, tally.stamps) if may_halve else None
        if halves is None:
            self._watch.window_done(receipt)
            return [receipt]
        parts = [await self.window(entity, half, halvings=halvings - 1) for half in halves]
        return [receipt for part in parts for receipt in part]

    async def _once(self, entity: Entity, window: Window, tally: Tally) -> None:
        """Walk the window once: page 1 says how many, the others come as the budget allows."""
        first = await self._page(entity, window, 1, tally)
        if first:
            tally.pages = max(first.page.pages, 1)
            self._watch.expect(tally.pages)
            rest = iter(range(2, tally.pages + 1))

            async def work() -> None:
                for number in rest:
                    arrival = await self._page(entity, window, number, tally)
                    if arrival and not arrival.page.data:
                        return  # past the end, whatever the first page promised

            await together([work() for _ in range(self._client.settings.max_in_flight)])

    async def _page(self, entity: Entity, window: Window, number: int, tally: Tally) -> Arrival | None:
        """Fetch one page and hand its rows on; a page that can't be had is noted on the tally."""
        async with self.slots:
            try:
                arrival = await self._client.fetch_page(entity, window, number)
            except (KeyRefused, RequestRefused):
                raise
            except SourceError as error:
                tally.failed += 1
                tally.reason = str(error)
                return None
            rows = [look(entity, bytes(raw), arrival.fetched_at) for raw in arrival.page.data]
            tally.fetched += 1
            tally.totals.add(arrival.page.total)
            tally.ids.update(row.id if row.id is not None else row.hash for row in rows)
            cut = [row.updated_at if window.by == "updated" else row.created_at for row in rows]
            found = [stamp for stamp in cut if stamp is not None]
            tally.stamps += found
            if entity is ORDERS:
                self.shown.update(row.id for row in rows if row.id is not None)
            if entity is ORDERS and window.by == "updated":
                self.latest = max([*found, *([self.latest] if self.latest else [])], default=None)
            self._watch.arrived(entity.name, len(rows))
            await self._keep(entity, rows)
        return arrival


def receipt_of(entity: Entity, window: Window, tally: Tally) -> WindowReceipt:
    """Return what the walk amounts to. Pure."""
    reason = tally.reason
    seen = len(tally.ids)
    both = len(tally.ids | tally.earlier)
    # What one walk missed the other may have shown, but only of a list that did not change between them.
    if tally.totals | tally.counted == {both}:
        seen = both
    if not tally.failed and tally.totals and tally.totals != {seen}:
        counted = ", then ".join(map(str, sorted(tally.totals)))
        reason = f"{seen} distinct ids arrived, the CRM counted {counted}"
    return WindowReceipt(
        entity=entity.name,
        by=window.by,
        since=window.since,
        until=window.until,
        expected=max(tally.totals, default=None),
        seen=seen,
        pages_expected=tally.pages or None,
        pages_fetched=tally.fetched,
        pages_failed=tally.failed,
        complete=not tally.failed and reason is None,
        reason=reason,
    )


async def together(jobs: Sequence[Coroutine[Any, Any, object]]) -> None:
    """Run the jobs side by side; the first error ends all of them and is the one raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
