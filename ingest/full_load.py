"""Full load: how far it has come, derived from the windows that it completed.

A full load takes hours at the CRM's pace. Each window that it completes is a row of the log
``ops.windows``. If a load is killed, the next run continues after the last complete window
and requests again what has changed since the load began.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pyarrow.compute as pc

from ingest.entities import ORDERS
from ingest.windows import Window, floor
from lake.delta.ledger import Ledger
from lake.ledgers.runs import WindowReceipt, complete_runs
from lake.paths import Lake


class LoadedWindow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of ``ops.windows``: a complete window of a full load.

    ``load_began_at`` is the load's start by the CRM's clock, ``load_started_at`` by this machine's.
    """

    load_began_at: datetime
    load_started_at: datetime
    run_id: str
    entity: str
    by: str
    since: datetime | None
    until: datetime | None
    seen: int

    @property
    def receipt(self) -> WindowReceipt:
        """The window as the receipt of a run has it."""
        return WindowReceipt(
            entity=self.entity,
            by=self.by,
            since=self.since,
            until=self.until,
            expected=self.seen,
            seen=self.seen,
            pages_expected=None,
            pages_fetched=0,
            pages_failed=0,
            complete=True,
        )


LEDGER = Ledger("ops.windows", LoadedWindow, order_by="load_began_at")


class FullLoad(msgspec.Struct, frozen=True):
    """A full load under way: its start by the CRM's clock and by this machine's, and its complete windows."""

    began_at: datetime
    started_at: datetime
    receipts: tuple[WindowReceipt, ...] = ()

    @property
    def remark(self) -> str:
        """What a run that continues this load does not read again, in one line."""
        return (
            f"it continued the load of {self.began_at:%Y-%m-%d %H:%M} UTC: {self.orders:,} orders were read"
            " then, and again only if updated_at moved; `just ingest sweep --all` finds other edits"
        )

    @property
    def orders(self) -> int:
        """How many orders were read."""
        return sum(receipt.seen for receipt in self.receipts if receipt.entity == ORDERS.name)

    def windows(self, entity: str) -> list[Window]:
        """Return the windows of creation time that were read of an entity."""
        receipts = [
            receipt for receipt in self.receipts if receipt.entity == entity and receipt.by == "created"
        ]
        return [Window("created", receipt.since, receipt.until) for receipt in receipts]


def read_full_load(lake: Lake, *, now: datetime, lifetime: timedelta) -> FullLoad:
    """Return the unfinished load to continue, or a new one that begins at ``now``, the CRM's time.

    A load is finished if one of its runs is a complete full run. It is abandoned if it began
    longer than ``lifetime`` ago.
    """
    new = FullLoad(began_at=floor(now), started_at=datetime.now(UTC))
    table = LEDGER.open(lake)
    newest = table and table.maximum("load_began_at")
    if not isinstance(newest, datetime) or newest < now - lifetime or newest > now:
        return new
    windows = LEDGER.read(lake, pc.field("load_began_at") >= newest)
    if {window.run_id for window in windows} & complete_runs(lake, kind="full"):
        return new
    receipts = tuple(window.receipt for window in windows)
    started_at = min(window.load_started_at for window in windows)
    return FullLoad(began_at=newest, started_at=started_at, receipts=receipts)


def write_windows(lake: Lake, load: FullLoad, run_id: str, receipts: Sequence[WindowReceipt]) -> None:
    """Append the complete windows among the receipts to the log of a load."""
    LEDGER.append(
        lake,
        [
            LoadedWindow(
                load_began_at=load.began_at,
                load_started_at=load.started_at,
                run_id=run_id,
                entity=receipt.entity,
                by=receipt.by,
                since=receipt.since,
                until=receipt.until,
                seen=receipt.seen,
            )
            for receipt in receipts
            if receipt.complete
        ],
    )
