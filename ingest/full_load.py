"""History: how far a full load has come, from the windows it completed. A ledger, no flag to lose.

A full load takes hours at the CRM's pace. Each window it completes is a row of
``ops.windows``; one that was killed is continued by the next, after the last window
that counted, and asks again for what changed since the first of them began.
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


class History(msgspec.Struct, frozen=True):
    """A full load under way: when it began, by the CRM's clock and this machine's, and what it has read."""

    began_at: datetime
    started_at: datetime
    done: tuple[WindowReceipt, ...] = ()

    def has_list(self, entity: str) -> bool:
        """True where the whole list of an entity was read."""
        return any(window.entity == entity and window.by == "list" for window in self.done)

    @property
    def orders(self) -> int:
        """How many orders it has read."""
        return sum(window.seen for window in self.done if window.entity == ORDERS.name)

    def windows(self, entity: str) -> list[Window]:
        """Return the spans of creation that were read of an entity."""
        spans = [receipt for receipt in self.done if receipt.entity == entity and receipt.by == "created"]
        return [Window("created", receipt.since, receipt.until) for receipt in spans]


def read_history(lake: Lake, *, now: datetime, patience: timedelta) -> History:
    """Return the unfinished load to continue, or a new one that begins now, by the CRM's clock.

    A load is over when a run of it has the receipt of a complete full run; one that
    began longer than ``patience`` ago is given up.
    """
    new = History(began_at=floor(now), started_at=datetime.now(UTC))
    if not table_exists(lake, WINDOWS):
        return new
    table = open_table(lake, WINDOWS)
    newest = table.maximum("load_began_at")
    if not isinstance(newest, datetime) or newest < now - patience or newest > now:
        return new
    rows = table.read(where=pc.field("load_began_at") >= newest).to_pylist()
    if {row["run_id"] for row in rows} & complete_runs(lake, kind="full"):
        return new
    done = tuple(
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
    return History(began_at=newest, started_at=min(row["load_started_at"] for row in rows), done=done)


def write_done(lake: Lake, history: History, run_id: str, receipts: Sequence[WindowReceipt]) -> None:
    """Append the windows that are complete."""
    rows = [
        {
            "load_began_at": history.began_at,
            "load_started_at": history.started_at,
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
