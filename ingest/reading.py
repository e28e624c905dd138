"""Reading: asking windows and single ids, and keeping what arrives. What every kind of run does.

Rows are committed as they come, off the event loop; whatever happens to the rest,
what arrived is kept.
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime

from ingest.bronze import Seen, gone, look
from ingest.client import Client
from ingest.entities import ORDERS, Entity
from ingest.progress import Watch
from ingest.walk import Walk, together
from ingest.windows import BEGINNING, Window
from ingest.writer import Writer
from lake.runs import WindowReceipt

ROWS_PER_COMMIT = 2500
Ask = tuple[Entity, Window]


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
        self._gone: list[Seen] = []
        self._commit = asyncio.Lock()

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
            for entity in {entity.name: entity for entity, _ in wanted}.values():
                await self._flush(entity)
        return found

    def reached(self, window: Window) -> datetime:
        """Return how far the CRM's changes are held, once the window of changes was read.

        By what the orders themselves say, not by a clock: a clock that is wrong for one
        answer would leave a gap for ever. Never beyond the window, so neither does one
        order dated ahead.
        """
        assert window.until, "changes have an end"
        return min(self._walk.latest or BEGINNING, window.until)

    async def absent(self, window: Window) -> None:
        """Ask by id for the orders that the lake holds in a window just read and that the CRM did not show.

        Only a direct 404 makes a tombstone: a list that lost a row is no deletion.
        """
        await self.orders(self.writer.not_shown(window, shown=self._walk.shown))

    async def holes(self, since: datetime) -> None:
        """Ask by id for what no list ever showed; a 404 is remembered, so each is asked for once."""
        ids, total = self.writer.holes(since, limit=self._by_id)
        await self.orders(ids, unasked=total - len(ids))

    async def orders(self, ids: Sequence[int], *, unasked: int = 0) -> None:
        """Ask for orders by id, each once a run: what is there is kept, what is gone gets a tombstone.

        ``unasked`` are as many more that somebody else will have to ask for.
        """
        new = [found for found in dict.fromkeys(ids) if found not in self.asked]
        if not new and not unasked:
            return
        asking = new[: max(self._by_id - len(self.asked), 0)]
        self.asked.update(asking)
        self._watch.expect(len(asking))
        try:
            await together([self._order(found) for found in asking])
        finally:
            await self._flush(ORDERS)
        left = len(new) - len(asking) + unasked
        self.receipts.append(
            WindowReceipt(
                entity=ORDERS.name,
                by="id",
                since=None,
                until=None,
                expected=len(asking) + left,
                seen=len(asking),
                pages_expected=len(asking) + left,
                pages_fetched=len(asking),
                pages_failed=0,
                complete=not left,
                reason=f"{left} more ids are to be asked for one by one, the next run goes on"
                if left
                else None,
            )
        )

    async def _order(self, found: int) -> None:
        async with self._walk.slots:
            body, at = await self.client.fetch_one(ORDERS, found)
        self._watch.arrived(ORDERS.name, 1 if body else 0)
        if body is None:
            self._gone.append(gone(found, at))
        else:
            await self._keep(ORDERS, [look(ORDERS, body, at)])

    async def _keep(self, entity: Entity, rows: list[Seen]) -> None:
        """Take rows; commit when enough are waiting."""
        waiting = self._waiting.setdefault(entity.name, [])
        waiting += rows
        if len(waiting) >= ROWS_PER_COMMIT:
            await self._flush(entity)

    async def _flush(self, entity: Entity) -> None:
        """Commit what waits; off the event loop, one commit at a time."""
        async with self._commit:
            if rows := self._waiting.pop(entity.name, []):
                await asyncio.to_thread(self.writer.write, entity, rows)
            if entity is ORDERS and self._gone:
                rows, self._gone = self._gone, []
                await asyncio.to_thread(self.writer.bury, entity, rows)
