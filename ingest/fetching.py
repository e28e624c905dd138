"""Reading: asking windows and single ids, and keeping what arrives. What every kind of run does.

Rows are committed as they come, off the event loop; whatever happens to the rest,
what arrived is kept.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import msgspec
import structlog

from ingest.client import Client
from ingest.entities import ORDERS, Entity
from ingest.observations import Seen, gone, look
from ingest.paging import Walk, together
from ingest.progress import Watch
from ingest.protocol import PAGE_ROWS
from ingest.windows import BEGINNING, Window
from ingest.writer import Writer
from lake.errors import KeyRefused, RequestRefused, SourceError
from lake.ledgers.runs import WindowReceipt
from lake.memory import give_back

log = structlog.get_logger()
ROWS_PER_COMMIT = 6000
BYTES_PER_COMMIT = 32 * 1024 * 1024
# One thread for all commits: every further one would keep a heap of its own for good.
COMMITTER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="commit")
# Ids that a line of the log names; it counts the others.
SHOWN = 10
Ask = tuple[Entity, Window]


class First(msgspec.Struct, frozen=True):
    """The order with the smallest id: when it was created, and how many orders there are in all."""

    id: int
    created_at: datetime
    total: int


class Last(msgspec.Struct, frozen=True):
    """The greatest id of an order at a moment (None: unreadable), and how many orders there were in all."""

    id: int | None
    total: int


class Reading:
    """The client to ask with, the writer to keep with, and the receipts so far.

    ``asked`` are the order ids asked for one by one; ``by_id`` bounds them for one run.
    """

    def __init__(self, client: Client, writer: Writer, watch: Watch, *, by_id: int) -> None:
        self.client = client
        self.writer = writer
        self.receipts: list[WindowReceipt] = []
        self.asked: set[int] = set()
        self._by_id = by_id
        self._watch = watch
        self._walk = Walk(client, self._keep, watch)
        self._waiting: dict[str, list[Seen]] = {}
        self._commit = asyncio.Lock()

    def plan(self, rows: int) -> None:
        """So many rows are to come in all, as far as can be said: for whoever watches."""
        self._watch.plan(-(-rows // PAGE_ROWS))

    def begin(self, rows: int) -> None:
        """So many rows are still to come, as far as can be said: a long load begins evenly."""
        self.client.limiter.begin(-(-rows // PAGE_ROWS))

    async def windows(self, asks: Iterable[Ask]) -> list[WindowReceipt]:
        """Read windows side by side and commit all that came; return their receipts."""
        self._walk.shown.clear()
        found: list[WindowReceipt] = []
        wanted = list(asks)

        async def one(entity: Entity, window: Window) -> None:
            found.extend(await self._walk.window(entity, window))

        try:
            await together([one(entity, window) for entity, window in wanted])
        finally:
            self.receipts.extend(found)
            await self._flush_all({entity.name: entity for entity, _ in wanted}.values())
        return found

    async def _flush_all(self, entities: Iterable[Entity]) -> None:
        """Commit what waits of each entity; the first that fails does not keep the others from it."""
        errors: list[Exception] = []
        for entity in entities:
            try:
                await self._flush(entity)
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def reached(self, window: Window) -> datetime:
        """Return how far the CRM's changes are held, once the window of changes was read.

        By what the orders in it say, not by a clock: a clock that is wrong for one answer
        would leave a gap for ever. Where none was changed, no further than where it begins;
        never beyond the window, so neither does one order dated ahead.
        """
        assert window.since, "changes have a beginning"
        assert window.until, "changes have an end"
        return min(self._walk.latest or window.since, window.until)

    async def absent(self, window: Window) -> list[WindowReceipt]:
        """Ask by id for the orders that the lake holds in a window just read and that the CRM did not show.

        Only a direct 404 makes a tombstone: a list that lost a row is no deletion.
        """
        return await self.orders(self.writer.not_shown(window, shown=self._walk.shown))

    async def holes(self, since: datetime, *, first_id: int | None) -> list[WindowReceipt]:
        """Ask by id for what no list ever showed; a 404 is remembered, so each is asked for once.

        ``first_id`` is the CRM's smallest, where all history is looked at.
        """
        ids, total = self.writer.holes(since, first_id=first_id, limit=self._by_id)
        return await self.orders(ids, unasked=total - len(ids), holes=True)

    async def all_counted(self, last: Last, *, first_id: int | None) -> WindowReceipt:
        """Compare the orders that there were when ``last`` was the newest with those that are held of them.

        An order that no window of time can reach is asked for by its id.
        """
        # One that was refused counts for as long as the CRM has it.
        await self.orders(self.writer.refused_only(ORDERS), holes=True)
        found = self.writer.alive(ORDERS, up_to=last.id)
        if found < last.total:
            await self.orders([last.id] if last.id else [])
            await self.holes(BEGINNING, first_id=first_id)
            found = self.writer.alive(ORDERS, up_to=last.id)
        short = max(last.total - found, 0)
        counted = WindowReceipt(
            entity=ORDERS.name,
            by="count",
            since=None,
            until=None,
            expected=last.total,
            seen=found,
            pages_expected=1,
            pages_fetched=1,
            pages_failed=0,
            complete=not short,
            reason=f"{short} orders lie in no window of time, the next run goes on" if short else None,
        )
        self.receipts.append(counted)
        return counted

    async def orders(
        self, ids: Sequence[int], *, unasked: int = 0, holes: bool = False
    ) -> list[WindowReceipt]:
        """Ask for orders by id, each once a run: what is there is kept, what is gone gets a tombstone.

        Only what the lake holds can be gone, and ``holes`` between its ids: a 404 for any
        other number says nothing. ``unasked`` are as many more that the next run asks for.
        Return the receipt, if there was anything to ask.
        """
        new = [found for found in dict.fromkeys(ids) if found not in self.asked]
        if not new and not unasked:
            return []
        asking = new[: max(self._by_id - len(self.asked), 0)]
        self.asked.update(asking)
        self._watch.expect(len(asking))
        lost: list[Seen] = []
        unanswered: list[str] = []
        try:
            await together([self._order(found, lost, unanswered) for found in asking])
        finally:
            await self._flush(ORDERS)
        gone_now = lost if holes else self.writer.held(ORDERS, lost)
        if unknown := sorted({row.id for row in lost if row.id} - {row.id for row in gone_now if row.id}):
            log.warning("ingest.no_such_orders", ids=unknown[:SHOWN], count=len(unknown))
        if gone_now:
            await self.client.fetch_first(ORDERS)  # a server that has no list of orders has lost none
            async with self._commit:
                await to_its_end(self.writer.bury, ORDERS, gone_now)
        left = len(new) - len(asking) + unasked
        receipt = WindowReceipt(
            entity=ORDERS.name,
            by="id",
            since=None,
            until=None,
            expected=len(asking) + left,
            seen=len(asking) - len(unanswered),
            pages_expected=len(asking) + left,
            pages_fetched=len(asking) - len(unanswered),
            pages_failed=len(unanswered),
            complete=not left and not unanswered,
            reason=next(iter(unanswered), None) or left_over(left),
        )
        self.receipts.append(receipt)
        return [receipt]

    async def _order(self, found: int, lost: list[Seen], unanswered: list[str]) -> None:
        """Ask for one order; one that the CRM can't answer for is noted, and keeps nobody up."""
        async with self._walk.slots:
            try:
                body, at = await self.client.fetch_one(ORDERS, found)
            except (KeyRefused, RequestRefused):
                raise
            except SourceError as error:
                unanswered.append(str(error))
                return
        self._watch.arrived(ORDERS.name, 1 if body else 0)
        if body is None:
            lost.append(gone(found, at))
        else:
            await self._keep(ORDERS, [look(ORDERS, body, at)])

    async def _keep(self, entity: Entity, rows: list[Seen]) -> None:
        """Take rows; commit when enough are waiting."""
        waiting = self._waiting.setdefault(entity.name, [])
        waiting += rows
        if len(waiting) >= ROWS_PER_COMMIT or sum(len(row.payload) for row in waiting) >= BYTES_PER_COMMIT:
            await self._flush(entity)

    async def _flush(self, entity: Entity) -> None:
        """Commit what waits: off the event loop, one commit at a time."""
        async with self._commit:
            if rows := self._waiting.pop(entity.name, []):
                await to_its_end(self._write, entity, rows)

    def _write(self, entity: Entity, rows: list[Seen]) -> None:
        self.writer.write(entity, rows)
        give_back()


def left_over(ids: int) -> str | None:
    """Return what to say of ids that nobody asked for yet. Pure."""
    return f"{ids} more ids are to be asked for one by one, the next run goes on" if ids else None


async def to_its_end(work: Callable[..., None], *arguments: Any) -> None:
    """Run work in a thread and wait for it, also when cancelled meanwhile: a thread can't be stopped.

    Two of them at once on one DuckDB connection would lose what one of them holds.
    """
    running = asyncio.get_running_loop().run_in_executor(COMMITTER, work, *arguments)
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
