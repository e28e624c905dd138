"""Kinds of run: which windows and ids each of them requests, in which order.

``incremental`` follows the CRM every few minutes, ``full`` reads all history, and a ``sweep``
requests again what should not have changed. ``window`` and ``orders`` read the span or the ids
that an operator names.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import structlog

from ingest.entities import BUYERS, ENTITIES, OFFERS, ORDERS, PRODUCTS, Entity
from ingest.fetching import Fetcher, FirstOrder, LastOrder, Target
from ingest.full_load import FullLoad, read_full_load, write_windows
from ingest.object_ids import object_id
from ingest.observations import observe
from ingest.settings import IngestSettings
from ingest.windows import (
    BEGINNING,
    WHOLE,
    Window,
    changed_window,
    floor,
    history_windows,
    recent_window,
    subtract,
)
from lake.errors import SourceDown
from lake.ledgers.runs import list_runs
from lake.paths import Lake

log = structlog.get_logger()
REFERENCES = tuple(entity for entity in ENTITIES if entity.is_reference)
CATALOGUE = (PRODUCTS, OFFERS)
# Age from which an unfinished full load is not continued: longer than any load takes.
LOAD_LIFETIME = timedelta(days=3)
# Scheduler jitter tolerated when deciding whether a list is due.
JITTER = timedelta(minutes=1)


async def run_incremental(
    fetcher: Fetcher, settings: IngestSettings, lake: Lake, watermark: datetime
) -> datetime:
    """Read changes since the watermark, recent orders and the due lists; return the new watermark."""
    await fetcher.client.read_clock()
    await fetcher.fetch_windows(whole_lists(due_lists(lake, REFERENCES, settings)))
    now = fetcher.client.now
    changed = changed_window(watermark, now=now, overlap=timedelta(minutes=settings.overlap_minutes))
    recent = recent_window(now=now, days=settings.created_days)
    targets: list[Target] = [(ORDERS, changed), (ORDERS, recent), (BUYERS, changed)]
    targets += whole_lists(due_lists(lake, CATALOGUE, settings))
    receipts = await fetcher.fetch_windows(targets)
    if all(receipt.complete for receipt in receipts):
        await fetcher.fetch_absent(recent)
    return fetcher.watermark(changed)


async def run_full(fetcher: Fetcher, settings: IngestSettings, lake: Lake, run_id: str) -> datetime:
    """Read everything from the first order on, then what changed during the load; return the watermark.

    If an earlier load was killed, this run continues it and skips the complete windows. Changes that move
    ``updated_at`` arrive from them too; the run's remark states that others do not.
    """
    first = await fetch_first_order(fetcher)
    fetcher.plan(first.total if first else 0)
    load = read_full_load(lake, now=fetcher.client.now, lifetime=LOAD_LIFETIME)
    if load.windows(ORDERS.name):
        log.info("ingest.continues", began_at=load.began_at.isoformat(), windows=len(load.receipts))
        fetcher.remarks.append(load.remark)
    fetcher.pace((first.total if first else 0) - load.orders)
    # Read again if a load is continued: no list can be asked for what changed since.
    await fetcher.fetch_windows(whole_lists([*REFERENCES, *CATALOGUE]))
    # The list of buyers has no sort order, so a new card would shift its pages: cards made before the load
    # began stay in place.
    for window in subtract(buyer_windows(first, settings, until=load.began_at), load.windows(BUYERS.name)):
        write_windows(lake, load, run_id, await fetcher.fetch_windows([(BUYERS, window)]))
    if first is not None:
        await fetch_history(fetcher, settings, lake, run_id, load, first)
    last = await fetch_last_order(fetcher)
    overlap = timedelta(minutes=settings.overlap_minutes)
    now = fetcher.client.now
    # The CRM's clock at the start, or its clock now less the elapsed time: one of them may be wrong.
    since = min(load.began_at, now - (datetime.now(UTC) - load.started_at))
    changes = changed_window(since, now=now, overlap=overlap)
    await fetcher.fetch_windows([(ORDERS, changes), (BUYERS, changes)])
    if all(receipt.complete for receipt in fetcher.receipts):
        count = await fetcher.count_orders(last, first_id=first.id if first else None)
        # Written even if no window is complete: the row ties this run to the load, which it may finish.
        write_windows(lake, load, run_id, [count])
    return fetcher.watermark(changes)


def buyer_windows(first: FirstOrder | None, settings: IngestSettings, *, until: datetime) -> list[Window]:
    """Return the windows of the buyers' cards created up to a moment; a shop has about one per two orders."""
    if first is None:
        return [Window("created", BEGINNING, until)]
    orders = {"orders": first.total, "per_window": 2 * settings.orders_per_window}
    return [
        msgspec.structs.replace(window, until=min(window.until or until, until))
        for window in history_windows(first.created_at, now=until, **orders)
        if window.since and window.since <= until
    ]


async def fetch_history(
    fetcher: Fetcher,
    settings: IngestSettings,
    lake: Lake,
    run_id: str,
    load: FullLoad,
    first: FirstOrder,
) -> None:
    """Read the remaining order windows of a full load one by one, and log each that is complete.

    A window is complete if the known orders that it did not list were answered for by id, too.
    """
    now = fetcher.client.now
    windows = history_windows(
        first.created_at, now=now, orders=first.total, per_window=settings.orders_per_window
    )
    for window in subtract(windows, load.windows(ORDERS.name)):
        receipts = await fetcher.fetch_windows([(ORDERS, window)])
        is_complete = all(receipt.complete for receipt in receipts)
        if is_complete and all(receipt.complete for receipt in await fetcher.fetch_absent(window)):
            # A window that ends after now is not finished. If it were logged, the next run would skip it.
            # One with doubled ids is read again by a run that continues the load, which has to count them.
            past = [
                receipt
                for receipt in receipts
                if receipt.until and receipt.until <= now and receipt.expected in (None, receipt.seen)
            ]
            write_windows(lake, load, run_id, past)


async def run_sweep(fetcher: Fetcher, settings: IngestSettings, days: int | None) -> None:
    """Compare the content of every order created in the last ``days`` (None: all), whatever its updated_at.

    Silent edits are appended. Orders that the CRM no longer lists are requested by id, and so
    are refused orders, and each gap in the ids that has no explanation yet.
    """
    first = await fetch_first_order(fetcher)
    if first is None:
        return
    now = fetcher.client.now
    windows = history_windows(
        first.created_at, now=now, orders=first.total, per_window=settings.orders_per_window
    )
    if days is None:
        fetcher.plan(first.total)
        fetcher.pace(first.total)
    else:
        windows = [Window("created", floor(now - timedelta(days=days)), floor(now))]
    for window in windows:
        receipts = await fetcher.fetch_windows([(ORDERS, window)])
        if all(receipt.complete for receipt in receipts):
            await fetcher.fetch_absent(window)
    await fetcher.fetch_orders(fetcher.writer.refused_ids(ORDERS), from_gaps=True)
    await fetcher.fetch_gaps(windows[0].since or BEGINNING, first_id=first.id if days is None else None)


async def fetch_first_order(fetcher: Fetcher) -> FirstOrder | None:
    """Fetch the order with the smallest id and the number of orders; None if the shop has no orders.

    Raises SourceDown if the lake has orders: an answer without rows does not delete all of them.
    """
    page = (await fetcher.client.fetch_first(ORDERS)).page
    if not page.data:
        if count := fetcher.writer.live_count(ORDERS):
            raise SourceDown(f"the CRM shows no order at all, the lake has {count}")
        return None
    order = observe(ORDERS, bytes(page.data[0]), fetcher.client.now)
    # One unreadable order must not stop the others.
    return FirstOrder(1 if order.id is None else order.id, order.created_at or BEGINNING, page.total or 0)


async def fetch_last_order(fetcher: Fetcher) -> LastOrder:
    """Fetch the order with the greatest id and the number of orders."""
    page = (await fetcher.client.fetch_first(ORDERS, newest=True)).page
    return LastOrder(object_id(bytes(page.data[0])) if page.data else None, page.total)


async def run_window(fetcher: Fetcher, since: datetime, until: datetime) -> None:
    """Read again what was created or updated in a span of time."""
    span = (floor(since), floor(until))
    created = Window("created", *span)
    receipts = await fetcher.fetch_windows([(ORDERS, created), (ORDERS, Window("updated", *span))])
    if all(receipt.complete for receipt in receipts):
        await fetcher.fetch_absent(created)


def whole_lists(entities: Sequence[Entity]) -> list[Target]:
    """Return the targets that read whole lists."""
    return [(entity, WHOLE) for entity in entities]


def due_lists(lake: Lake, entities: Sequence[Entity], settings: IngestSettings) -> list[Entity]:
    """Return the lists whose last complete reading is older than their cadence."""
    cadences = {entity.name: timedelta(minutes=settings.minutes(entity.name)) for entity in entities}
    longest = max(cadences.values())
    now = datetime.now(UTC)
    read_at = {
        receipt.entity: run.started_at
        for run in reversed(list_runs(lake, since=now - longest) if longest else [])
        for receipt in run.windows
        if receipt.complete and receipt.by == "list"
    }
    never = datetime.min.replace(tzinfo=UTC)
    return [
        entity
        for entity in entities
        if now - read_at.get(entity.name, never) >= cadences[entity.name] - JITTER
    ]
