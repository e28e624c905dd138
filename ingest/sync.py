"""One run: windows, pages, rows, commits, receipt.

What arrived is kept whatever happens to the rest; only a complete run moves the
watermark, because the watermark is read off the receipts of complete runs.
"""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import structlog

from ingest.bronze import Seen
from ingest.client import Client
from ingest.entities import BUYERS, ENTITIES, OFFERS, ORDERS, PRODUCTS, Entity
from ingest.progress import Watch
from ingest.settings import IngestSettings
from ingest.walk import Walk, together
from ingest.windows import WHOLE, Window, changed_window, history_windows, recent_window
from ingest.writer import Writer
from lake.errors import KeyRefused, SourceError
from lake.paths import Lake
from lake.runs import Run, WindowReceipt, last_runs, list_runs, write_run
from lake.session import connect
from lake.settings import LakeSettings

log = structlog.get_logger()
REFERENCES = tuple(entity for entity in ENTITIES if entity.is_reference)
LISTS = (PRODUCTS, OFFERS)
ROWS_PER_COMMIT = 2500
WINDOWS_AT_ONCE = 3
Ask = tuple[Entity, Window]


class Sync:
    """One run while it lasts: the client to ask with, the writer to keep with, the receipts so far."""

    def __init__(
        self, lake: Lake, settings: IngestSettings, client: Client, writer: Writer, watch: Watch
    ) -> None:
        self._lake = lake
        self._settings = settings
        self._client = client
        self._writer = writer
        self._walk = Walk(client, self._keep, watch)
        self._waiting: dict[str, list[Seen]] = {}
        self._commit = asyncio.Lock()
        self.receipts: list[WindowReceipt] = []
        self.watermark: datetime | None = None

    async def incremental(self, watermark: datetime) -> None:
        """Ask for what changed since the watermark, what is recent, and the lists that are due."""
        await self._read(
            [(entity, WHOLE) for entity in self._due(REFERENCES, self._settings.references_every_minutes)]
        )
        now = self._client.now
        changed = changed_window(
            watermark, now=now, overlap=timedelta(minutes=self._settings.overlap_minutes)
        )
        recent = recent_window(now=now, days=self._settings.created_days)
        lists = self._due(LISTS, self._settings.lists_every_minutes)
        asks: list[Ask] = [(ORDERS, changed), (ORDERS, recent), (BUYERS, changed)]
        await self._read([*asks, *((entity, WHOLE) for entity in lists)])
        self.watermark = changed.until

    async def full(self) -> None:
        """Ask for everything, from the first order on; then for what changed meanwhile."""
        await self._read([(entity, WHOLE) for entity in (*REFERENCES, *LISTS, BUYERS)])
        began = self._client.now
        await self._read([(ORDERS, window) for window in await self._history()])
        overlap = timedelta(minutes=self._settings.overlap_minutes)
        meanwhile = changed_window(began, now=self._client.now, overlap=overlap)
        await self._read([(ORDERS, meanwhile), (BUYERS, meanwhile)])
        self.watermark = meanwhile.until

    async def _history(self) -> Sequence[Window]:
        first = (await self._client.fetch_first(ORDERS)).page
        if not first.data:
            return []
        created = msgspec.json.decode(first.data[0], type=Created).created_at
        created = created if created.tzinfo else created.replace(tzinfo=UTC)
        return history_windows(
            created,
            now=self._client.now,
            orders=first.total or 0,
            per_window=self._settings.orders_per_window,
        )

    def _due(self, entities: Sequence[Entity], every_minutes: int) -> list[Entity]:
        """Return the lists whose last complete reading is older than their cadence."""
        if not every_minutes:
            return list(entities)
        since = datetime.now(UTC) - timedelta(minutes=every_minutes)
        fresh = {
            window.entity
            for run in list_runs(self._lake, since=since)
            for window in run.windows
            if window.complete and window.by == "list"
        }
        return [entity for entity in entities if entity.name not in fresh]

    async def _read(self, asks: Sequence[Ask]) -> None:
        """Read the windows, a few at a time so that the budget never idles, and commit what is left."""
        places = asyncio.Semaphore(WINDOWS_AT_ONCE)

        async def one(entity: Entity, window: Window) -> None:
            async with places:
                self.receipts.extend(await self._walk.window(entity, window))

        try:
            await together([one(entity, window) for entity, window in asks])
        finally:
            for entity in {entity.name: entity for entity, _ in asks}.values():
                await self._flush(entity)

    async def _keep(self, entity: Entity, rows: list[Seen]) -> None:
        """Take a page's rows; commit when enough are waiting."""
        waiting = self._waiting.setdefault(entity.name, [])
        waiting += rows
        if len(waiting) >= ROWS_PER_COMMIT:
            await self._flush(entity)

    async def _flush(self, entity: Entity) -> None:
        """Commit the rows that wait; off the event loop, one commit at a time."""
        async with self._commit:
            if rows := self._waiting.pop(entity.name, []):
                await asyncio.to_thread(self._writer.write, entity, rows)


class Created(msgspec.Struct):
    """The one field of an order that cuts history into windows."""

    created_at: datetime


async def run_sync(
    kind: str,
    lake: Lake,
    *,
    client: Client,
    settings: IngestSettings,
    engine: LakeSettings,
    watch: Watch,
) -> Run:
    """Run one ingest of a kind (``incremental`` or ``full``) and return its receipt, already in the ledger.

    Without a complete run before it, an incremental one has nothing to go on from
    and reads everything. Raises KeyRefused, after the receipt was written.
    """
    started_at = datetime.now(UTC)
    run_id = f"{started_at:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
    complete = last_runs(lake)[1]
    watermark = complete.watermark if complete else None
    writer = Writer(lake, connect(engine), run_id=run_id)
    writer.make_tables()
    client.stamp_after(writer.newest)
    error: SourceError | None = None
    async with client:
        sync = Sync(lake, settings, client, writer, watch)
        try:
            with watch:
                if kind == "full" or watermark is None:
                    kind = "full"
                    await sync.full()
                else:
                    await sync.incremental(watermark)
        except SourceError as failure:
            error = failure
    is_complete = error is None and all(receipt.complete for receipt in sync.receipts)
    run = Run(
        run_id=run_id,
        kind=kind,
        verdict="complete" if is_complete else "incomplete",
        started_at=started_at,
        finished_at=datetime.now(UTC),
        source=client.settings.base_url,
        watermark=sync.watermark if is_complete else None,
        windows=tuple(sync.receipts),
        appended=dict(writer.appended),
        rejected=writer.rejected,
        requests=client.requests,
        retries=client.retries,
        waited_seconds=round(client.limiter.waited, 3),
        reason=str(error) if error else reason_of(sync.receipts),
    )
    write_run(lake, run)
    if isinstance(error, KeyRefused):
        raise error
    return run


def reason_of(receipts: Sequence[WindowReceipt]) -> str | None:
    """Return why a run is incomplete: its first window that is."""
    return next((f"{receipt.entity}: {receipt.reason}" for receipt in receipts if not receipt.complete), None)
