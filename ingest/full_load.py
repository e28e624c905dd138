"""Full load: how far it has come, derived from the windows that it completed.

A full load takes hours at the CRM's pace. Each window that it completes is a row of the log
``ops.windows``. If a load is killed, the next run continues after the last complete window
and requests again what has changed since the load began.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from ingest.entities import ORDERS
from ingest.windows import Window, floor
from lake.delta.table import create_table, open_table, table_exists
from lake.ledgers.runs import INSTANT, WindowReceipt, complete_runs
from lake.paths import Lake

WINDOWS = "ops.windows"
SCHEMA = pa.schema(
    [
        pa.field("load_began_at", INSTANT, False),
        pa.field("load_started_at", INSTANT, False),
        pa.field("run_id", pa.string(), False),
        pa.field("entity", pa.string(), False),
        pa.field("by", pa.string(), False),
        pa.field("since", INSTANT),
        pa.field("until", INSTANT),
        pa.field("seen", pa.int64(), False),
    ]
)


class FullLoad(msgspec.Struct, frozen=True):
    """A full load under way: its start by the CRM's clock and by this machine's, and its complete windows."""

    began_at: datetime
    started_at: datetime
    receipts: tuple[WindowReceipt, ...] = ()

    def has_list(self, entity: str) -> bool:
        """True if the whole list of an entity was read."""
        return any(receipt.entity == entity and receipt.by == "list" for receipt in self.receipts)

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
    if not table_exists(lake, WINDOWS):
        return new
    table = open_table(lake, WINDOWS)
    newest = table.maximum("load_began_at")
    if not isinstance(newest, datetime) or newest < now - lifetime or newest > now:
        return new
    rows = table.read(where=pc.field("load_began_at") >= newest).to_pylist()
    if {row["run_id"] for row in rows} & complete_runs(lake, kind="full"):
        return new
    receipts = tuple(
        WindowReceipt(
            entity=row["entity"],
            by=row["by"],
            since=row["since"],
            until=row["until"],
            expected=row["seen"],
            seen=row["seen"],
            pages_expected=None,
            pages_fetched=0,
            pages_failed=0,
            complete=True,
        )
        for row in rows
    )
    started_at = min(row["load_started_at"] for row in rows)
    return FullLoad(began_at=newest, started_at=started_at, receipts=receipts)


def write_windows(lake: Lake, load: FullLoad, run_id: str, receipts: Sequence[WindowReceipt]) -> None:
    """Append the complete windows among the receipts to the log of a load."""
    rows = [
        {
            "load_began_at": load.began_at,
            "load_started_at": load.started_at,
            "run_id": run_id,
            "entity": receipt.entity,
            "by": receipt.by,
            "since": receipt.since,
            "until": receipt.until,
            "seen": receipt.seen,
        }
        for receipt in receipts
        if receipt.complete
    ]
    create_table(lake, WINDOWS, SCHEMA).append(pa.Table.from_pylist(rows, schema=SCHEMA))
