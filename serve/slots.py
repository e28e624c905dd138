"""Slots: which slots of the schedule are taken, by which process, and how they ended; rows of ``ops.jobs``.

The ledger gets as few rows as possible. A slot is claimed before its process starts, so that a
second scheduler leaves it alone and a crash can't lose it. A slot is closed in four cases: it
failed; it is the first that succeeded after a failure; a release came out of it; the scheduler
stops. Any other slot that had nothing to do writes nothing: its claim stays open and covers the
next slots too, until one of them has a result. So an idle day costs one renewal of the claim
every RENEW, instead of two commits every few minutes. If slots are too far apart to renew a
claim, each is closed.

An open claim whose holder has died is a crash: the next scheduler to start runs the slot
immediately. It looks up the process of a holder on this machine; a holder on another machine
counts as dead if it has not renewed its claim for twice RENEW.
"""

import os
import socket
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc

from lake.delta.table import Table
from lake.errors import CommitConflict
from lake.ledgers.jobs import LEDGER, Entry
from lake.paths import Lake

# Age at which a holder renews an open claim.
RENEW = timedelta(minutes=15)
# Silence after which a holder on another machine counts as dead.
SILENCE = 2 * RENEW


class SlotClaims:
    """The claims of one holder; ``failed`` holds the jobs whose slot before the claimed one failed."""

    def __init__(self, lake: Lake, *, holder: str) -> None:
        self._lake = lake
        self.holder = holder
        self.failed: set[str] = set()

    def claim(self, job: str, slot: datetime, *, now: datetime) -> bool:
        """Claim the slot; False if it is done already or another process holds it."""
        table = LEDGER.create(self._lake)
        last = self.last(job)
        if last and not self._is_free(last, slot, now):
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
        return last.detail == self.holder or is_gone(last.detail or "", since=now - last.at)


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


def is_gone(holder: str, *, since: timedelta) -> bool:
    """Return True if the holder has died; ``since`` is the time since its last row."""
    machine, _, process = holder.partition(" ")
    if machine != socket.gethostname():
        return since > SILENCE
    number, _, start = process.partition(" ")
    return not number.isdigit() or started(int(number)) != start


def started(process: int) -> str:
    """Return a process's start time as the kernel writes it; empty if no such process runs here."""
    try:
        # The name, in brackets, may hold spaces; the state follows, and 19 fields on the start: proc(5).
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return "" if state == "Z" else fields[18]
    except (OSError, ValueError, IndexError):
        return "" if not is_running(process) else "?"


def is_running(process: int) -> bool:
    """Return True if a process of that number runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
