"""Fetching: read windows and single ids from the CRM, and commit the rows that arrive.

All kinds of run use it. Rows are committed while later pages arrive, off the event loop. If
the run fails later, the rows that arrived are kept.
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
from ingest.observations import Observation, observe, tombstone
from ingest.paging import Pager, run_concurrently
from ingest.progress import ProgressReporter
from ingest.protocol import PAGE_ROWS
from ingest.windows import BEGINNING, Window
from ingest.writer import Writer
from lake.errors import KeyRefused, RequestRefused, SourceError, panics_as_errors
from lake.ledgers.runs import WindowReceipt
from lake.memory import give_back
from lake.messages import counted

log = structlog.get_logger()
ROWS_PER_COMMIT = 6000
BYTES_PER_COMMIT = 32 * 1024 * 1024
# One thread for all commits: each further thread would keep a heap of its own.
COMMITTER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="commit")
# Ids that a log line names; the others are only counted.
LOGGED_IDS = 10
# A window of an entity to read.
Target = tuple[Entity, Window]


class FirstOrder(msgspec.Struct, frozen=True):
    """The order with the smallest id: its creation time, and the number of all orders, 0 if not counted."""

    id: int
    created_at: datetime
    total: int


class LastOrder(msgspec.Struct, frozen=True):
    """The greatest order id at a moment (None if it is unreadable), and the number of all orders then.

    The number is None if the CRM does not count them.
    """

    id: int | None
    total: int | None


class Fetcher:
    """Reads from the client, writes to the writer, and collects the receipts of one run.

    ``requested_ids`` are the orders requested one by one; a run requests at most ``id_limit``. ``remarks``
    are what the receipt of a complete run has to state.
    """

    def __init__(self, client: Client, writer: Writer, progress: ProgressReporter, *, id_limit: int) -> None:
        self.client = client
        self.writer = writer
        self.receipts: list[WindowReceipt] = []
        self.requested_ids: set[int] = set()
        self.remarks: list[str] = []
        self._id_limit = id_limit
        self._reported: set[str] = set()
        self._progress = progress
        self._pager = Pager(client, self._keep, progress)
        self._waiting: dict[str, list[Observation]] = {}
        self._commit = asyncio.Lock()

    def plan(self, rows: int) -> None:
        """Announce the estimated number of rows of the whole run to the progress report."""
        self._progress.plan_pages(-(-rows // PAGE_ROWS))

    def pace(self, rows: int) -> None:
        """Announce the estimated number of rows still to read; if it is a long load, it begins evenly."""
        self.client.limiter.pace(-(-rows // PAGE_ROWS))

    async def fetch_windows(self, targets: Iterable[Target]) -> list[WindowReceipt]:
        """Read windows concurrently and commit all rows that arrived; return their receipts."""
        self._pager.order_ids.clear()
        receipts: list[WindowReceipt] = []
        wanted = list(targets)

        async def fetch(entity: Entity, window: Window) -> None:
            receipts.extend(await self._pager.fetch_window(entity, window))

        try:
            await run_concurrently([fetch(entity, window) for entity, window in wanted])
        finally:
            self.receipts.extend(receipts)
            await self._flush_all({entity.name: entity for entity, _ in wanted}.values())
        self._report_doubled()
        return receipts

    def _report_doubled(self) -> None:
        """Log ids that the CRM lists more than once, and state them in the receipt, once for each entity."""
        for entity, ids in self._pager.doubled.items():
            if entity not in self._reported:
                self._reported.add(entity)
                log.warning("ingest.doubled_ids", entity=entity, ids=list(ids)[:LOGGED_IDS], count=len(ids))
                what = f"the CRM lists {counted(len(ids), 'id')} more than once, such as {next(iter(ids))}"
                self.remarks.append(f"{entity}: {what}")

    async def _flush_all(self, entities: Iterable[Entity]) -> None:
        """Commit the waiting rows of each entity; if one commit fails, the others are still made."""
        errors: list[Exception] = []
        for entity in entities:
            try:
                with panics_as_errors():
                    await self._flush(entity)
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def watermark(self, window: Window) -> datetime:
        """Return the source time up to which all changes are stored, after a window of changes was read.

        It is the latest change of an order in the window, not a clock's time: a clock that is
        wrong for one answer would leave a permanent gap. If no order changed, it is the window's
        start. It is never beyond the window's end, so a change dated ahead does no harm.
        """
        assert window.since, "changes have a beginning"
        assert window.until, "changes have an end"
        return min(self._pager.latest_change or window.since, window.until)

    async def fetch_absent(self, window: Window) -> list[WindowReceipt]:
        """Request by id the orders of a window just read that the lake holds and the CRM did not list.

        Only a direct 404 makes a tombstone. A list that lost a row is no deletion.
        """
        return await self.fetch_orders(self.writer.absent_orders(window, listed=self._pager.order_ids))

    async def fetch_gaps(self, since: datetime, *, first_id: int | None) -> list[WindowReceipt]:
        """Request by id what no list has shown; a 404 is stored, so each id is requested once.

        ``first_id`` is the CRM's smallest id if all history is examined.
        """
        ids, total = self.writer.gap_ids(since, first_id=first_id, limit=self._id_limit)
        return await self.fetch_orders(ids, remaining=total - len(ids), from_gaps=True)

    async def count_orders(self, last: LastOrder, *, first_id: int | None) -> WindowReceipt:
        """Compare the CRM's number of orders when ``last`` was the newest with the lake's orders up to it.

        If orders are missing, they lie in no window of time and are requested by id.
        """
        # A rejected order counts as long as the CRM has it.
        await self.fetch_orders(self.writer.refused_ids(ORDERS), from_gaps=True)
        count = self._order_count(last)
        total = count if last.total is None else last.total
        if count < total:
            await self.fetch_orders([last.id] if last.id else [])
            await self.fetch_gaps(BEGINNING, first_id=first_id)
            count = self._order_count(last)
        missing = max(total - count, 0)
        receipt = WindowReceipt(
            entity=ORDERS.name,
            by="count",
            since=None,
            until=None,
            expected=last.total,
            seen=count,
            pages_expected=1,
            pages_fetched=1,
            pages_failed=0,
            complete=not missing,
            reason=f"{missing} orders lie in no window of time, the next run goes on" if missing else None,
        )
        self.receipts.append(receipt)
        return receipt

    def _order_count(self, last: LastOrder) -> int:
        """Return the number of the lake's orders up to the last one, as the CRM counts them.

        Orders without a readable id count too, and so does each further row of an id that has several.
        """
        doubled = self._pager.doubled.get(ORDERS.name, {}).items()
        further = sum(
            rows for row_id, rows in doubled if isinstance(row_id, int) and is_up_to(row_id, last.id)
        )
        return self.writer.live_count(ORDERS, up_to=last.id) + self.writer.unidentified(ORDERS) + further

    async def fetch_orders(
        self, ids: Sequence[int], *, remaining: int = 0, from_gaps: bool = False
    ) -> list[WindowReceipt]:
        """Request orders by id, each once a run; store those that exist, and a tombstone for a deleted one.

        A 404 is a deletion only if the lake holds the id, or if it is one of the gaps between
        its ids (``from_gaps``). ``remaining`` is the number of further ids left to the next run.
        Return the receipt, or nothing if there was no id to request.
        """
        new = [order_id for order_id in dict.fromkeys(ids) if order_id not in self.requested_ids]
        if not new and not remaining:
            return []
        batch = new[: max(self._id_limit - len(self.requested_ids), 0)]
        self.requested_ids.update(batch)
        self._progress.expect_pages(len(batch))
        missing: list[Observation] = []
        errors: list[str] = []
        try:
            await run_concurrently([self._fetch_order(order_id, missing, errors) for order_id in batch])
        finally:
            await self._flush(ORDERS)
        await self._bury(missing, missing if from_gaps else self.writer.known_rows(ORDERS, missing))
        receipt = id_receipt(len(batch), len(new) - len(batch) + remaining, errors)
        self.receipts.append(receipt)
        return [receipt]

    async def _bury(self, missing: Sequence[Observation], deleted: Sequence[Observation]) -> None:
        """Write tombstones of the deleted orders; log the missing ids that were never orders."""
        deleted_ids = {row.id for row in deleted if row.id}
        if unknown := sorted({row.id for row in missing if row.id} - deleted_ids):
            log.warning("ingest.no_such_orders", ids=unknown[:LOGGED_IDS], count=len(unknown))
        if deleted:
            await self.client.fetch_first(ORDERS)  # a server without a list of orders has deleted none
            async with self._commit:
                await run_to_completion(self.writer.write_tombstones, ORDERS, deleted)

    async def _fetch_order(self, order_id: int, missing: list[Observation], errors: list[str]) -> None:
        """Request one order. If the CRM can't answer, note the error and let the others go on."""
        async with self._pager.slots:
            try:
                body, fetched_at = await self.client.fetch_object(ORDERS, order_id)
            except (KeyRefused, RequestRefused):
                raise
            except SourceError as error:
                errors.append(str(error))
                return
        self._progress.add_page(ORDERS.name, 1 if body else 0)
        if body is None:
            missing.append(tombstone(order_id, fetched_at))
        else:
            await self._keep(ORDERS, [observe(ORDERS, body, fetched_at)])

    async def _keep(self, entity: Entity, rows: list[Observation]) -> None:
        """Take rows; commit if enough of them wait."""
        waiting = self._waiting.setdefault(entity.name, [])
        waiting += rows
        if len(waiting) >= ROWS_PER_COMMIT or sum(len(row.payload) for row in waiting) >= BYTES_PER_COMMIT:
            await self._flush(entity)

    async def _flush(self, entity: Entity) -> None:
        """Commit the waiting rows off the event loop, one commit after another."""
        async with self._commit:
            if rows := self._waiting.pop(entity.name, []):
                await run_to_completion(self._write, entity, rows)

    def _write(self, entity: Entity, rows: list[Observation]) -> None:
        self.writer.write(entity, rows)
        give_back()


def is_up_to(row_id: int, last_id: int | None) -> bool:
    """Return True if an id is not above the last one; if that is not known, none is. Pure."""
    return last_id is None or row_id <= last_id


def id_receipt(requested: int, left: int, errors: Sequence[str]) -> WindowReceipt:
    """Return the receipt of requests by id: how many were sent, are left, and failed. Pure."""
    answered = requested - len(errors)
    return WindowReceipt(
        entity=ORDERS.name,
        by="id",
        since=None,
        until=None,
        expected=requested + left,
        seen=answered,
        pages_expected=requested + left,
        pages_fetched=answered,
        pages_failed=len(errors),
        complete=not left and not errors,
        reason=next(iter(errors), None) or remaining_reason(left),
    )


def remaining_reason(ids: int) -> str | None:
    """Return why a receipt with ids left to request is incomplete; None if none are left. Pure."""
    return f"{ids} more ids are to be requested one by one, the next run goes on" if ids else None


async def run_to_completion(work: Callable[..., None], *arguments: Any) -> None:
    """Run work in the commit thread and wait for its end, also if cancelled: a thread can't be stopped.

    If two pieces of work used one DuckDB connection concurrently, they would lose registered rows.
    """
    future = asyncio.get_running_loop().run_in_executor(COMMITTER, work, *arguments)
    try:
        await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise
