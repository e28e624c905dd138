"""Resync: everything asked for again, as a full load does, and every order witnessed.

It goes on from nothing and leaves nothing to go on from: what counts is what the CRM
showed in this one run.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from ingest.entities import BUYERS, ORDERS
from ingest.fetching import First, Reading
from ingest.run_kinds import CATALOGUE, REFERENCES, first_order, last_order, lists, windows_of
from ingest.settings import IngestSettings
from ingest.windows import Window, changed_window, floor, history_windows, recent_window


async def resync(reading: Reading, settings: IngestSettings, days: int | None) -> datetime | None:
    """Read all history again, or what was created in the last ``days``; return the watermark.

    Without ``days`` the orders are counted, too, and what changed meanwhile is read once
    more, so it holds every change; with them it is a part, and moves no watermark.
    """
    first = await first_order(reading)
    began_at, started_at = floor(reading.client.now), datetime.now(UTC)
    await reading.windows(lists([*REFERENCES, *CATALOGUE]))
    if days is not None:
        recent = recent_window(now=reading.client.now, days=days)
        await reading.windows([(BUYERS, recent)])
        await orders_of(reading, [recent])
        await reading.holes(recent.since or began_at, first_id=None)
        return None
    for window in windows_of(first, settings, until=began_at):
        await reading.windows([(BUYERS, window)])
    if first is not None:
        await orders_of(reading, order_windows(first, settings, now=reading.client.now))
    last = await last_order(reading)
    now = reading.client.now
    # By the CRM's clock then, or by what it is now less the time that passed: one of them may be wrong.
    since = min(began_at, now - (datetime.now(UTC) - started_at))
    meanwhile = changed_window(since, now=now, overlap=timedelta(minutes=settings.overlap_minutes))
    await reading.windows([(ORDERS, meanwhile), (BUYERS, meanwhile)])
    if all(receipt.complete for receipt in reading.receipts):
        await reading.all_counted(last, first_id=first.id if first else None)
    return reading.reached(meanwhile)


def order_windows(first: First, settings: IngestSettings, *, now: datetime) -> list[Window]:
    """Return the windows of all orders, whenever they were created. Pure."""
    return history_windows(
        first.created_at, now=now, orders=first.total, per_window=settings.orders_per_window
    )


async def orders_of(reading: Reading, windows: Iterable[Window]) -> None:
    """Read the orders created in each window; those that it does not show are asked for by id."""
    for window in windows:
        receipts = await reading.windows([(ORDERS, window)])
        if all(receipt.complete for receipt in receipts):
            await reading.absent(window)
