"""Slots: which slots of the schedule are taken, by which process, and how they ended; rows of ``ops.jobs``.

The ledger gets as few rows as possible. A slot is claimed before its process starts, so that a
second scheduler leaves it alone and a crash can't lose it. A slot is closed in four cases: it
failed; it is the first that succeeded after a failure; a release came out of it; the scheduler
stops. Any other slot that had nothing to do writes nothing: its claim stays open and covers the
next slots too, until one of them has a result. So an idle day costs one renewal of the claim
every RENEW, instead of two commits every few minutes. If slots are too far apart to renew a
claim, each is closed.

An open claim whose holder has died is a crash: the next scheduler to start runs the slot
immediately. A scheduler has a lock in the lake while it lives, its *lease*. If the lake is on a disk
of this machine and no process has the lock, the holder has died, even if it ran in another container.
Otherwise the holder's process is looked up on this machine; a holder on another machine counts as
dead if it has not renewed its claim for twice RENEW.
"""

import hashlib
import os
import socket
import time
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc
import structlog

from lake.delta.table import Table
from lake.errors import CommitConflict, LakeError
from lake.ledgers.jobs import LEDGER, Entry
from lake.lock import is_lockable, is_taken, open_lock, take_or_wait, write_holder
from lake.paths import Lake
from lake.processes import is_on_local_disk, started

log = structlog.get_logger()
# Age at which a holder renews an open claim.
RENEW = timedelta(minutes=15)
# Silence after which a holder on another machine counts as dead.
SILENCE = 2 * RENEW
# The first part of a lease's name.
LEASE = "schedule-"
# Age from which a lease that a killed scheduler left is removed.
LEFT = timedelta(days=1)


class SlotClaims:
    """The claims of one holder; ``failed`` has the jobs whose slot before the claimed one failed.

    A holder ``with_lease`` has a lock in the lake from its first claim on, until it closes or dies.
    """

    def __init__(self, lake: Lake, *, holder: str, with_lease: bool = False) -> None:
        self._lake = lake
        self.holder = holder
        self.failed: set[str] = set()
        self._with_lease = with_lease
        self._lease: int | None = None
        self._waits_for: dict[str, Entry] = {}

    def claim(self, job: str, slot: datetime, *, now: datetime) -> bool:
        """Claim the slot; False if it is done already, or another process has it, which is logged."""
        table = LEDGER.create(self._lake)
        self._take_lease()
        last = self.last(job)
        if last and not self._is_free(last, slot, now):
            self._log_wait(job, last)
            return False
        if last and last.state == "closed":
            (self.failed.add if last.exit_code else self.failed.discard)(job)
        if last and self.is_open(last) and now - last.at < RENEW:
            return True
        return claimed(table, Entry(job=job, slot=slot, state="claimed", at=now, detail=self.holder))

    def close(self, job: str, slot: datetime, *, now: datetime, exit_code: int, detail: str) -> None:
        """Record how the slot ended; retried if another job's row came first."""
        entry = Entry(job=job, slot=slot, state="closed", at=now, exit_code=exit_code, detail=detail)
        LEDGER.append(self._lake, [entry])

    def last(self, job: str) -> Entry | None:
        """Return the newest row of the job; older files are read only if the newest have none."""
        for rows in LEDGER.portions(self._lake, where=pc.field("job") == job):
            if entries := LEDGER.records(rows):
                return max(entries, key=lambda entry: (entry.at, entry.state == "closed"))
        return None

    def is_open(self, entry: Entry | None) -> bool:
        """Return True if the row is a claim of this holder that was not closed."""
        return entry is not None and entry.state == "claimed" and entry.detail == self.holder

    def _is_free(self, last: Entry, slot: datetime, now: datetime) -> bool:
        if last.state == "closed":
            return last.slot != slot
        return last.detail == self.holder or is_dead(self._lake, last.detail or "", since=now - last.at)

    def _log_wait(self, job: str, last: Entry) -> None:
        """Log once, for a row of another holder, that it is taken over at ``until`` if it is not renewed."""
        if last.state == "claimed" and self._waits_for.get(job) != last:
            self._waits_for[job] = last
            machine, _, process = (last.detail or "").partition(" ")
            log.info(
                "schedule.waits",
                job=job,
                slot=last.slot.isoformat(),
                holder=f"process {process.partition(' ')[0]} on {machine}",
                until=(last.at + SILENCE).isoformat(timespec="seconds"),
            )

    def _take_lease(self) -> None:
        """Take the lease if this holder is to have one, and remove leases that were left long ago."""
        file = lease_of(self._lake, self.holder) if self._with_lease else None
        if file and self._lease is None and is_lockable(self._lake):
            self._lease = open_lock(file)
            with suppress(LakeError):  # it proves nothing then; a status looks at it for a moment only
                take_or_wait(self._lease, file, seconds=1.0)
                write_holder(self._lease)
            remove_old_leases(self._lake)

    def close_lease(self) -> None:
        """End the lease, because this holder ends."""
        file = lease_of(self._lake, self.holder)
        if file and self._lease is not None:
            file.unlink(missing_ok=True)
            os.close(self._lease)
            self._lease = None


def claimed(table: Table, entry: Entry) -> bool:
    """Append the claim on the version that ``table`` holds; False if another process was first."""
    try:
        table.append_pinned(LEDGER.rows([entry]))
    except CommitConflict:
        return False
    return True


def this_process() -> str:
    """Return this holder's name: machine, process number and its start, because numbers are reused."""
    return f"{socket.gethostname()} {os.getpid()} {started(os.getpid())}"


def is_dead(lake: Lake, holder: str, *, since: timedelta) -> bool:
    """Return True if the holder of a claim has died; ``since`` is the time since its last row."""
    lease = lease_of(lake, holder)
    if lease is None or not lease.exists() or not is_on_local_disk(lease):
        return is_gone(holder, since=since)
    # Another container may have stopped the holder, so that it renews nothing.
    is_elsewhere = holder.partition(" ")[0] != socket.gethostname()
    return not is_taken(lease) or (is_elsewhere and since > SILENCE)


def is_gone(holder: str, *, since: timedelta) -> bool:
    """Return True if the holder has died, judged by its process or by the time since its last row."""
    machine, _, process = holder.partition(" ")
    if machine != socket.gethostname():
        return since > SILENCE
    number, _, start = process.partition(" ")
    return not number.isdigit() or started(int(number)) != start


def lease_of(lake: Lake, holder: str) -> Path | None:
    """Return the file of a holder's lease; None in an object store, which has no locks."""
    name = hashlib.blake2b(holder.encode(), digest_size=8).hexdigest()
    return lake.locks / f"{LEASE}{name}" if lake.locks else None


def remove_old_leases(lake: Lake) -> None:
    """Remove the leases that killed schedulers left more than a day ago."""
    with suppress(OSError):
        for file in lake.locks.glob(f"{LEASE}*") if lake.locks else []:
            if time.time() - file.stat().st_mtime > LEFT.total_seconds() and not is_taken(file):
                file.unlink(missing_ok=True)
