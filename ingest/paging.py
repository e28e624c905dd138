"""Paging: read one window to its end, and decide whether all of its rows arrived.

Lists change while they are paged through. So a window is complete only if every page arrived
and the distinct ids are as many as the CRM counts, at the start and at the end. If they are
not, the window is read a second time: a list without a sort order shows on one pass what it
hid on the other. If they still differ, the window is halved, and in the end reported incomplete.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any

import msgspec

from ingest.client import Arrival, Client
from ingest.entities import ORDERS, Entity
from ingest.observations import Observation, observe
from ingest.progress import ProgressReporter
from ingest.windows import Window, split
from lake.errors import KeyRefused, RequestRefused, SourceError
from lake.ledgers.runs import WindowReceipt

Keep = Callable[[Entity, list[Observation]], Awaitable[None]]
# Passes over a window before it is halved.
PASSES = 2
# Levels of halving below the first window.
HALVINGS = 3


class Tally(msgspec.Struct):
    """What one pass over a window has found so far.

    ``earlier_ids`` are the ids of the passes before it, ``earlier_totals`` the CRM's counts then.
    """

    earlier_ids: frozenset[int | str] = frozenset()
    earlier_totals: frozenset[int] = frozenset()
    ids: set[int | str] = msgspec.field(default_factory=set)
    totals: set[int] = msgspec.field(default_factory=set)
    stamps: list[datetime] = msgspec.field(default_factory=list)
    pages: int = 0
    fetched: int = 0
    failed: int = 0
    reason: str | None = None


class Pager:
    """Reads windows with the client and hands the rows of each page to ``keep`` when it arrives.

    ``order_ids`` are the orders in the windows read; the caller that compares them clears them.
    ``latest_change`` is the greatest updated_at in a window of changed orders.
    """

    def __init__(self, client: Client, keep: Keep, progress: ProgressReporter) -> None:
        self._client = client
        # A page keeps its slot until its rows are taken, which bounds the rows that wait for a commit.
        self.slots = asyncio.Semaphore(client.settings.max_in_flight)
        self.order_ids: set[int] = set()
        self.latest_change: datetime | None = None
        self._keep = keep
        self._progress = progress

    async def fetch_window(
        self, entity: Entity, window: Window, *, halvings: int = HALVINGS
    ) -> list[WindowReceipt]:
        """Read the window; return its receipt, or the receipts of its parts if it had to be halved."""
        tally = Tally()
        for _ in range(PASSES):
            tally = Tally(tally.earlier_ids | tally.ids, tally.earlier_totals | tally.totals)
            await self._read_pages(entity, window, tally)
            receipt = receipt_of(entity, window, tally)
            if receipt.complete:
                break
        may_halve = halvings and not receipt.complete and not receipt.pages_failed
        halves = split(window, tally.stamps) if may_halve else None
        if halves is None:
            self._progress.finish_window(receipt)
            return [receipt]
        parts = [await self.fetch_window(entity, half, halvings=halvings - 1) for half in halves]
        return [receipt for part in parts for receipt in part]

    async def _read_pages(self, entity: Entity, window: Window, tally: Tally) -> None:
        """Make one pass: page 1 has the number of pages, the others follow as the budget allows."""
        first = await self._fetch_page(entity, window, 1, tally)
        if first:
            tally.pages = max(first.page.pages, 1)
            self._progress.expect_pages(tally.pages)
            numbers = iter(range(2, tally.pages + 1))

            async def work() -> None:
                for number in numbers:
                    arrival = await self._fetch_page(entity, window, number, tally)
                    if arrival and not arrival.page.data:
                        return  # past the end, although the first page counted more

            await run_concurrently([work() for _ in range(self._client.settings.max_in_flight)])

    async def _fetch_page(self, entity: Entity, window: Window, number: int, tally: Tally) -> Arrival | None:
        """Fetch one page and hand its rows on; if it can't be fetched, count it on the tally."""
        async with self.slots:
            try:
                arrival = await self._client.fetch_page(entity, window, number)
            except (KeyRefused, RequestRefused):
                raise
            except SourceError as error:
                tally.failed += 1
                tally.reason = str(error)
                return None
            rows = [observe(entity, bytes(raw), arrival.fetched_at) for raw in arrival.page.data]
            tally.fetched += 1
            tally.totals.add(arrival.page.total)
            tally.ids.update(row.id if row.id is not None else row.hash for row in rows)
            times = [row.updated_at if window.by == "updated" else row.created_at for row in rows]
            stamps = [stamp for stamp in times if stamp is not None]
            tally.stamps += stamps
            if entity is ORDERS:
                self.order_ids.update(row.id for row in rows if row.id is not None)
            if entity is ORDERS and window.by == "updated":
                earlier = [self.latest_change] if self.latest_change else []
                self.latest_change = max([*stamps, *earlier], default=None)
            self._progress.add_page(entity.name, len(rows))
            await self._keep(entity, rows)
        return arrival


def receipt_of(entity: Entity, window: Window, tally: Tally) -> WindowReceipt:
    """Return the receipt of a pass. Pure."""
    reason = tally.reason
    seen = len(tally.ids)
    all_seen = len(tally.ids | tally.earlier_ids)
    # One pass may show what another missed, but only if the list did not change between them.
    if tally.totals | tally.earlier_totals == {all_seen}:
        seen = all_seen
    if not tally.failed and tally.totals and tally.totals != {seen}:
        totals = ", then ".join(map(str, sorted(tally.totals)))
        reason = f"{seen} distinct ids arrived, the CRM counted {totals}"
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


async def run_concurrently(jobs: Sequence[Coroutine[Any, Any, object]]) -> None:
    """Run the jobs concurrently. If one fails, the others are cancelled and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
