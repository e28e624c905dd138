"""``ops.jobs``, the schedule's ledger: its rows, and which jobs failed when they last ended."""

from datetime import datetime, timedelta

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from lake.paths import Lake
from lake.release import Release
from lake.table import open_table, table_exists

JOBS = "ops.jobs"
# The job whose work is done once a release came after it.
SYNC = "sync"
# A job that did not end for longer is not one of the schedule's any more.
REMEMBERED = timedelta(days=8)
INSTANT = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [
        pa.field("job", pa.string(), False),
        pa.field("slot", INSTANT, False),
        pa.field("state", pa.string(), False),
        pa.field("at", INSTANT, False),
        pa.field("exit_code", pa.int64()),
        pa.field("detail", pa.string()),
    ]
)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One row: ``state`` is claimed (``detail``: the holder) or closed (``detail``: what came of it)."""

    job: str
    slot: datetime
    state: str
    at: datetime
    exit_code: int | None = None
    detail: str | None = None

    @property
    def failure(self) -> str:
        """What a failed job says to people, in one line."""
        return f"{self.job} failed at {self.at:%Y-%m-%d %H:%M} UTC (exit {self.exit_code}): {self.detail}"


def failed_jobs(lake: Lake, current: Release | None) -> tuple[Entry, ...]:
    """Return how the jobs ended that failed last time, but a sync made good by a release."""
    last: dict[str, Entry] = {}
    if table_exists(lake, JOBS):
        table = open_table(lake, JOBS)
        newest = table.maximum("at")
        if isinstance(newest, datetime):
            where = (pc.field("state") == "closed") & (pc.field("at") >= newest - REMEMBERED)
            for row in sorted(table.read(where=where).to_pylist(), key=lambda row: row["at"]):
                last[row["job"]] = Entry(**row)
    return tuple(
        last[name] for name in sorted(last) if last[name].exit_code and not is_mended(last[name], current)
    )


def is_mended(failed: Entry, current: Release | None) -> bool:
    """True where what a job did not get done is done by now. Pure."""
    return failed.job == SYNC and current is not None and current.published_at > failed.at
