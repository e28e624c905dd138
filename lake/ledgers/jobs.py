"""Jobs: the schedule's ledger ``ops.jobs``, and which jobs failed when they last ended."""

from datetime import datetime, timedelta

import msgspec
import pyarrow.compute as pc

from lake.delta.ledger import Ledger
from lake.paths import Lake
from lake.releases.release import COMPACTION, RESUME, ROLLBACK, Release

# The job whose failure a later release repairs.
SYNC = "sync"
# Kinds of releases that show no new rows.
NO_NEWS = (COMPACTION, ROLLBACK, RESUME)
# Time after which a job that did not end again no longer counts as one of the schedule's.
REMEMBERED = timedelta(days=8)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One row: ``state`` is claimed (``detail``: the holder) or closed (``detail``: the outcome)."""

    job: str
    slot: datetime
    state: str
    at: datetime
    exit_code: int | None = None
    detail: str | None = None

    @property
    def failure(self) -> str:
        """One line for people about a job that failed."""
        return f"{self.job} failed at {self.at:%Y-%m-%d %H:%M} UTC (exit {self.exit_code}): {self.detail}"


LEDGER = Ledger("ops.jobs", Entry, order_by="at")
JOBS = LEDGER.name


def failed_jobs(lake: Lake, current: Release | None, *, now: datetime) -> tuple[Entry, ...]:
    """Return the last entry of each job that failed when it last ended, unless a release repaired it."""
    where = (pc.field("state") == "closed") & (pc.field("at") >= now - REMEMBERED)
    last = {entry.job: entry for entry in LEDGER.read(lake, where)}
    failed = (last[name] for name in sorted(last) if last[name].exit_code)
    return tuple(entry for entry in failed if not is_repaired(entry, current))


def is_repaired(failed: Entry, current: Release | None) -> bool:
    """Return True if a release after the failure did the job's work. Pure."""
    if failed.job != SYNC or current is None or current.kind in NO_NEWS:
        return False
    return current.published_at > failed.at
