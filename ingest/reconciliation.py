"""Reconciliation with the CRM, its first half: a resync reads everything again and records evidence.

Unlike a full load, a resync does not continue an earlier run and can't be continued. Only what
the CRM showed in this one run counts.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from ingest.entities import BUYERS, ORDERS
from ingest.fetching import Fetcher, FirstOrder
from ingest.run_kinds import (
    CATALOGUE,
    REFERENCES,
    buyer_windows,
    fetch_first_order,
    fetch_last_order,
    whole_lists,
)
from ingest.settings import IngestSettings
from ingest.windows import Window, changed_window, floor, history_windows, recent_window


async def resync(fetcher: Fetcher, settings: IngestSettings, days: int | None) -> datetime | None:
    """Read all history again, or what was created in the last ``days``; return the watermark.

    Without ``days`` the orders are counted, and what changed during the run is read once more,
    so the result covers every change. If ``days`` is given, the result is a part of history
    and moves no watermark.
    """
    first = await fetch_first_order(fetcher)
    began_at, started_at = floor(fetcher.client.now), datetime.now(UTC)
    await fetcher.fetch_windows(whole_lists([*REFERENCES, *CATALOGUE]))
    if days is not None:
        recent = recent_window(now=fetcher.client.now, days=days)
        await fetcher.fetch_windows([(BUYERS, recent)])
        await fetch_orders(fetcher, [recent])
        await fetcher.fetch_gaps(recent.since or began_at, first_id=None)
        return None
    for window in buyer_windows(first, settings, until=began_at):
        await fetcher.fetch_windows([(BUYERS, window)])
    if first is not None:
        await fetch_orders(fetcher, order_windows(first, settings, now=fetcher.client.now))
    last = await fetch_last_order(fetcher)
    now = fetcher.client.now
    # The CRM's clock at the start, or its clock now less the elapsed time: one of them may be wrong.
    since = min(began_at, now - (datetime.now(UTC) - started_at))
    changes = changed_window(since, now=now, overlap=timedelta(minutes=settings.overlap_minutes))
    await fetcher.fetch_windows([(ORDERS, changes), (BUYERS, changes)])
    if all(receipt.complete for receipt in fetcher.receipts):
        await fetcher.count_orders(last, first_id=first.id if first else None)
    return fetcher.watermark(changes)


def order_windows(first: FirstOrder, settings: IngestSettings, *, now: datetime) -> list[Window]:
    """Return the windows that cover all orders, whenever they were created. Pure."""
    return history_windows(
        first.created_at, now=now, orders=first.total, per_window=settings.orders_per_window
    )


async def fetch_orders(fetcher: Fetcher, windows: Iterable[Window]) -> None:
    """Read the orders created in each window; if a known order is not listed, request it by id."""
    for window in windows:
        receipts = await fetcher.fetch_windows([(ORDERS, window)])
        if all(receipt.complete for receipt in receipts):
            await fetcher.fetch_absent(window)
