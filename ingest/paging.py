"""Paging: read one window to its end, and decide whether all of its rows arrived.

Lists change while they are paged through. So a window is complete only if every page arrived
and the distinct ids are as many as the CRM counts, at the start and at the end. If they are
not, the window is read a second time: a list without a sort order shows on one pass what it
hid on the other. If they still differ, the window is halved, and in the end reported incomplete. If
both passes show the same rows, as many as the CRM counts, an id with two rows is no missing one. A CRM
that does not count its rows has to show the same rows twice.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any

import msgspec

from ingest.client import Arrival, Client
from ingest.entities import ORDERS, Entity
from ingest.observations import Observation, observe
from ingest.progress import ProgressReporter
from ingest.protocol import Page
from ingest.windows import BEGINNING, END, Window, split
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
    ``earlier_rows`` are the rows of the last pass, None if it did not get every page. ``rows`` counts the
    rows of each id, ``page_rows`` those of each page, ``doubled_rows`` those that repeat an id of their page.
    """

    earlier_ids: frozenset[int | str] = frozenset()
    earlier_totals: frozenset[int] = frozenset()
    earlier_rows: Counter[int | str] | None = None
    rows: Counter[int | str] = msgspec.field(default_factory=Counter)
    totals: set[int] = msgspec.field(default_factory=set)
    stamps: list[datetime] = msgspec.field(default_factory=list)
    page_rows: dict[int, int] = msgspec.field(default_factory=dict)
    doubled_rows: int = 0
    pages: int = 0
    fetched: int = 0
    failed: int = 0
    reason: str | None = None

    def next_pass(self) -> "Tally":
        """Return the tally of another pass over the same window."""
        rows = self.rows if self.fetched and not self.failed else None
        return Tally(self.earlier_ids | set(self.rows), self.earlier_totals | self.totals, rows)

    def add(self, number: int, page: Page, ids: Sequence[int | str]) -> None:
        """Add a page."""
        self.fetched += 1
        self.page_rows[number] = len(ids)
        self.doubled_rows += len(ids) - len(set(ids))
        self.rows.update(ids)
        if page.total is not None:
            self.totals.add(page.total)

    @property
    def lacks_rows(self) -> bool:
        """True if fewer rows arrived than the CRM counts, or if it counts none."""
        return not self.totals or self.rows.total() < max(self.totals)

    @property
    def is_repeated(self) -> bool:
        """True if the pass before this one showed the same rows, as many as the CRM counted, if it did.

        Then an id that has two rows has two rows in the CRM: a list that moved would show others.
        """
        counted = self.totals | self.earlier_totals
        return self.rows == self.earlier_rows and counted in (set(), {self.rows.total()})

    @property
    def doubled(self) -> dict[int | str, int]:
        """The ids that have several rows, and how many rows each has besides the first."""
        return {row_id: rows - 1 for row_id, rows in self.rows.items() if rows > 1}


class Pager:
    """Reads windows with the client and hands the rows of each page to ``keep`` when it arrives.

    ``order_ids`` are the orders in the windows read; the caller that compares them clears them.
    ``latest_change`` is the greatest updated_at in a window of changed orders. ``doubled`` has the ids that
    the CRM lists more than once, by entity, see ``Tally.doubled``.
    """

    def __init__(self, client: Client, keep: Keep, progress: ProgressReporter) -> None:
        self._client = client
        # A page keeps its slot until its rows are taken, which bounds the rows that wait for a commit.
        self.slots = asyncio.Semaphore(client.settings.max_in_flight)
        self.order_ids: set[int] = set()
        self.latest_change: datetime | None = None
        self.doubled: dict[str, dict[int | str, int]] = {}
        self._keep = keep
        self._progress = progress

    async def fetch_window(
        self, entity: Entity, window: Window, *, halvings: int = HALVINGS
    ) -> list[WindowReceipt]:
        """Read the window; return its receipt, or the receipts of its parts if it had to be halved."""
        tally = Tally()
        for _ in range(PASSES):
            tally = tally.next_pass()
            await self._read_pages(entity, window, tally)
            receipt = receipt_of(entity, window, tally)
            if receipt.complete:
                break
        may_halve = halvings and not receipt.complete and not receipt.pages_failed
        # Two rows of an id on one page are no shift of the pages, which parts of the window would not have.
        is_doubled = tally.is_repeated and not receipt.pages_failed
        may_halve = may_halve and not (is_doubled and tally.doubled_rows == sum(tally.doubled.values()))
        halves = split(window, tally.stamps) if may_halve else None
        if halves is None:
            if is_doubled and not receipt.complete:
                receipt = self._accept_doubled(entity, receipt, tally)
            self._progress.finish_window(receipt)
            return [receipt]
        parts = [await self.fetch_window(entity, half, halvings=halvings - 1) for half in halves]
        return [receipt for part in parts for receipt in part]

    def _accept_doubled(self, entity: Entity, receipt: WindowReceipt, tally: Tally) -> WindowReceipt:
        """Return the receipt as complete, and note the ids that have several rows."""
        self.doubled.setdefault(entity.name, {}).update(tally.doubled)
        return msgspec.structs.replace(receipt, complete=True, reason=None)

    async def _read_pages(self, entity: Entity, window: Window, tally: Tally) -> None:
        """Make one pass: page 1 has the number of pages, the others follow as the budget allows."""
        first = await self._fetch_page(entity, window, 1, tally)
        if first:
            tally.pages = first.page.pages
            self._progress.expect_pages(tally.pages)
            numbers = iter(range(2, tally.pages + 1))

            async def work() -> None:
                for number in numbers:
                    arrival = await self._fetch_page(entity, window, number, tally)
                    if arrival and not arrival.page.data:
                        return  # past the end, although the first page counted more

            await run_concurrently([work() for _ in range(self._client.settings.max_in_flight)])
            await self._read_further_pages(entity, window, tally)

    async def _read_further_pages(self, entity: Entity, window: Window, tally: Tally) -> None:
        """Go on while the last page is full and rows are missing: a server may count too few pages."""
        full = tally.page_rows[1]
        while full and not tally.failed and tally.page_rows.get(tally.pages) == full and tally.lacks_rows:
            ids = len(tally.rows)
            self._progress.expect_pages(1)
            await self._fetch_page(entity, window, tally.pages + 1, tally)
            tally.pages += 1
            if len(tally.rows) == ids:
                return  # no page with this number: it has no rows, or the CRM shows another one again

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
            tally.add(number, arrival.page, [row.id if row.id is not None else row.hash for row in rows])
            times = [row.updated_at if window.by == "updated" else row.created_at for row in rows]
            # A stamp outside all windows is a mistake in the CRM: no watermark may follow it.
            stamps = [stamp for stamp in times if stamp is not None and BEGINNING <= stamp <= END]
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
    seen = len(tally.rows)
    all_seen = len(tally.rows.keys() | tally.earlier_ids)
    # One pass may show what another missed, but only if the list did not change between them.
    if tally.totals | tally.earlier_totals == {all_seen}:
        seen = all_seen
    reason = tally.reason or (None if tally.failed else missing_reason(tally, seen))
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


def missing_reason(tally: Tally, seen: int) -> str | None:
    """Return why a pass that got all pages is not complete; None if it is. Pure."""
    if not tally.totals:
        return None if tally.is_repeated else "the CRM counts no rows, and two readings showed different ones"
    if tally.totals == {seen}:
        return None
    totals = ", then ".join(map(str, sorted(tally.totals)))
    return f"{seen} distinct ids arrived, the CRM counted {totals}"


async def run_concurrently(jobs: Sequence[Coroutine[Any, Any, object]]) -> None:
    """Run the jobs concurrently. If one fails, the others are cancelled and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
