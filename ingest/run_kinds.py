"""The kinds of run: what each asks for, in which order.

``incremental`` follows the CRM every few minutes, ``full`` reads all history, a
``sweep`` asks again for what should not have changed, ``window`` and ``orders`` look
at what a person names.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import structlog

from ingest.entities import BUYERS, ENTITIES, OFFERS, ORDERS, PRODUCTS, Entity
from ingest.fetching import Ask, First, Last, Reading
from ingest.full_load import History, read_history, write_done
from ingest.observations import id_alone
from ingest.protocol import GARBAGE
from ingest.settings import IngestSettings
from ingest.windows import (
    BEGINNING,
    WHOLE,
    Window,
    changed_window,
    floor,
    history_windows,
    recent_window,
    without,
)
from lake.errors import SourceDown
from lake.ledgers.runs import list_runs
from lake.paths import Lake

log = structlog.get_logger()
REFERENCES = tuple(entity for entity in ENTITIES if entity.is_reference)
CATALOGUE = (PRODUCTS, OFFERS)
# Longer than any load takes, shorter than anybody would call the same load.
PATIENCE = timedelta(days=3)
# A schedule's slots come a little early or late: what is due by the hour is not left for the slot after.
PUNCTUAL = timedelta(minutes=1)


async def incremental(
    reading: Reading, settings: IngestSettings, lake: Lake, watermark: datetime
) -> datetime:
    """Ask for what changed since the watermark, what is recent, and the lists due; return how far it got."""
    await reading.client.hear()
    await reading.windows(lists(due(lake, REFERENCES, settings)))
    now = reading.client.now
    changed = changed_window(watermark, now=now, overlap=timedelta(minutes=settings.overlap_minutes))
    recent = recent_window(now=now, days=settings.created_days)
    asks: list[Ask] = [(ORDERS, changed), (ORDERS, recent), (BUYERS, changed)]
    asks += lists(due(lake, CATALOGUE, settings))
    receipts = await reading.windows(asks)
    if all(receipt.complete for receipt in receipts):
        await reading.absent(recent)
    return reading.reached(changed)


async def full(reading: Reading, settings: IngestSettings, lake: Lake, run_id: str) -> datetime:
    """Ask for everything from the first order on, then for what changed meanwhile; return the watermark.

    A load that was killed is continued: a window that was complete is not asked again.
    """
    first = await first_order(reading)
    reading.plan(first.total if first else 0)
    history = read_history(lake, now=reading.client.now, patience=PATIENCE)
    if history.done:
        log.info("ingest.continues", began_at=history.began_at.isoformat(), windows=len(history.done))
    reading.begin((first.total if first else 0) - history.orders)
    for entity in (*REFERENCES, *CATALOGUE):
        if not history.has_list(entity.name):
            write_done(lake, history, run_id, await reading.windows([(entity, WHOLE)]))
    # Their list has no order of its own, so new cards would shift it: those of before now stand still.
    for window in without(windows_of(first, settings, until=history.began_at), history.windows(BUYERS.name)):
        write_done(lake, history, run_id, await reading.windows([(BUYERS, window)]))
    if first is not None:
        await orders_of_history(reading, settings, lake, run_id, history, first)
    last = await last_order(reading)
    overlap = timedelta(minutes=settings.overlap_minutes)
    now = reading.client.now
    # By the CRM's clock then, or by what it is now less the time that passed: one of them may be wrong.
    since = min(history.began_at, now - (datetime.now(UTC) - history.started_at))
    meanwhile = changed_window(since, now=now, overlap=overlap)
    await reading.windows([(ORDERS, meanwhile), (BUYERS, meanwhile)])
    if all(receipt.complete for receipt in reading.receipts):
        # Written down in any case: it says which run the load was over with.
        write_done(
            lake, history, run_id, [await reading.all_counted(last, first_id=first.id if first else None)]
        )
    return reading.reached(meanwhile)


def windows_of(first: First | None, settings: IngestSettings, *, until: datetime) -> list[Window]:
    """Return the windows of the buyers' cards made up to a moment; there is about one to two orders."""
    if first is None:
        return [Window("created", BEGINNING, until)]
    orders = {"orders": first.total, "per_window": 2 * settings.orders_per_window}
    return [
        msgspec.structs.replace(window, until=min(window.until or until, until))
        for window in history_windows(first.created_at, now=until, **orders)
        if window.since and window.since <= until
    ]


async def orders_of_history(
    reading: Reading,
    settings: IngestSettings,
    lake: Lake,
    run_id: str,
    history: History,
    first: First,
) -> None:
    """Read the windows of a full load that are left, one by one, and write down each that is complete.

    It is when the orders that it did not show are answered for, too.
    """
    now = reading.client.now
    windows = history_windows(
        first.created_at, now=now, orders=first.total, per_window=settings.orders_per_window
    )
    for window in without(windows, history.windows(ORDERS.name)):
        receipts = await reading.windows([(ORDERS, window)])
        is_complete = all(receipt.complete for receipt in receipts)
        if is_complete and all(receipt.complete for receipt in await reading.absent(window)):
            # What reaches beyond now is not over: the next run would take it for read.
            write_done(lake, history, run_id, [done for done in receipts if done.until and done.until <= now])


async def sweep(reading: Reading, settings: IngestSettings, days: int | None) -> None:
    """Compare content: every order created in the last ``days`` (None: all), whatever its updated_at says.

    Silent edits are appended, orders the CRM no longer shows are asked for by id, and so
    is every hole in the ids that nothing has explained yet.
    """
    first = await first_order(reading)
    if first is None:
        return
    now = reading.client.now
    windows = history_windows(
        first.created_at, now=now, orders=first.total, per_window=settings.orders_per_window
    )
    if days is None:
        reading.plan(first.total)
        reading.begin(first.total)
    else:
        windows = [Window("created", floor(now - timedelta(days=days)), floor(now))]
    for window in windows:
        receipts = await reading.windows([(ORDERS, window)])
        if all(receipt.complete for receipt in receipts):
            await reading.absent(window)
    await reading.holes(windows[0].since or BEGINNING, first_id=first.id if days is None else None)


async def first_order(reading: Reading) -> First | None:
    """Ask for the order with the smallest id, and how many there are; None for a shop without orders.

    Raises SourceDown where there are none any more: an answer without rows is no deletion of all.
    """
    page = (await reading.client.fetch_first(ORDERS)).page
    if not page.data:
        if held := reading.writer.alive(ORDERS):
            raise SourceDown(f"the CRM shows no order at all, the lake holds {held}")
        return None
    try:
        order = msgspec.json.decode(page.data[0], type=Created)
    except GARBAGE:  # an order that can't be read must not stop the others
        return First(1, BEGINNING, page.total)
    return First(order.id, in_utc(order.created_at), page.total)


async def last_order(reading: Reading) -> Last:
    """Ask for the order with the greatest id, and how many there are."""
    page = (await reading.client.fetch_first(ORDERS, newest=True)).page
    found = id_alone(bytes(page.data[0])) if page.data else None
    return Last(found["id"] if found else None, page.total)


async def window(reading: Reading, since: datetime, until: datetime) -> None:
    """Ask again for what was created or updated in a span of time."""
    span = (floor(since), floor(until))
    created = Window("created", *span)
    receipts = await reading.windows([(ORDERS, created), (ORDERS, Window("updated", *span))])
    if all(receipt.complete for receipt in receipts):
        await reading.absent(created)


def lists(entities: Sequence[Entity]) -> list[Ask]:
    """Return the asks for whole lists."""
    return [(entity, WHOLE) for entity in entities]


def due(lake: Lake, entities: Sequence[Entity], settings: IngestSettings) -> list[Entity]:
    """Return the lists whose last complete reading is older than the cadence of each."""
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
        if now - read_at.get(entity.name, never) >= cadences[entity.name] - PUNCTUAL
    ]


class Created(msgspec.Struct):
    """Of an order, what cuts history into windows."""

    id: int
    created_at: datetime


def in_utc(stamp: datetime) -> datetime:
    """Return the stamp in UTC; without a zone it is UTC."""
    return stamp.astimezone(UTC) if stamp.tzinfo else stamp.replace(tzinfo=UTC)
