"""``ops.jobs``, the schedule's ledger: its rows, and which jobs failed when they last ended."""

from datetime import datetime, timedelta

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from lake.delta.table import open_table, table_exists
from lake.paths import Lake
from lake.releases.release import COMPACTION, RESUME, ROLLBACK, Release

JOBS = "ops.jobs"
# The job whose work is done once a release came after it.
SYNC = "sync"
# Releases that show nothing that was not there before.
NO_NEWS = (COMPACTION, ROLLBACK, RESUME)
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


def failed_jobs(lake: Lake, current: Release | None, *, now: datetime) -> tuple[Entry, ...]:
    """Return how the jobs ended that failed last time, but a sync made good by a release."""
    last: dict[str, Entry] = {}
    if table_exists(lake, JOBS):
        where = (pc.field("state") == "closed") & (pc.field("at") >= now - REMEMBERED)
        found = open_table(lake, JOBS).read(where=where).to_pylist()
        last = {row["job"]: Entry(**row) for row in sorted(found, key=lambda row: row["at"])}
    failed = (last[name] for name in sorted(last) if last[name].exit_code)
    return tuple(entry for entry in failed if not is_mended(entry, current))


def is_mended(failed: Entry, current: Release | None) -> bool:
    """True where what a job did not get done is done by now. Pure."""
    is_of_news = current is not None and current.kind not in NO_NEWS
    return failed.job == SYNC and current is not None and is_of_news and current.published_at > failed.at
