"""``ops.jobs``: which slots of the schedule are taken, by whom, and how they ended. Append-only.

What must be written, and no more: a slot is claimed before its process starts, so
that a second scheduler leaves it alone and a crash can't lose it. It is closed when
it failed, when it is the first that did not fail again, when a release came out of it,
and when the scheduler stops. Any other slot that found nothing to do writes nothing:
its claim stays open and covers the next slots too, until one of them has something to
tell. So an idle day costs a renewal of the claim every RENEW, and not two commits every
few minutes. Slots too far apart to renew a claim are closed one by one.

An open claim whose holder is gone is a crash: whoever starts next runs it at once.
A holder on this machine is asked for by its process; one elsewhere counts as gone
when it has not renewed its claim for twice RENEW.
"""

import os
import socket
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from lake.delta.table import Table, create_table
from lake.errors import CommitConflict
from lake.ledgers.jobs import JOBS, SCHEMA, Entry
from lake.paths import Lake

RENEW = timedelta(minutes=15)
# Who was not heard of for longer is gone.
HEARD = 2 * RENEW


class Ledger:
    """The ledger as one holder sees it; ``failed`` are the jobs whose slot before the one claimed failed."""

    def __init__(self, lake: Lake, *, holder: str) -> None:
        self._lake = lake
        self.holder = holder
        self.failed: set[str] = set()

    def claim(self, job: str, slot: datetime, *, now: datetime) -> bool:
        """Take the slot; False where it is done already, or somebody else has it."""
        table = create_table(self._lake, JOBS, SCHEMA)
        last = last_entry(table, job)
        if last and not self._is_free(last, slot, now):
            return False
        if last and last.state == "closed":
            (self.failed.add if last.exit_code else self.failed.discard)(job)
        if last and last.state == "claimed" and last.detail == self.holder and now - last.at < RENEW:
            return True
        try:
            write(table, Entry(job=job, slot=slot, state="claimed", at=now, detail=self.holder))
        except CommitConflict:
            return False
        return True

    def close(self, job: str, slot: datetime, *, now: datetime, exit_code: int, detail: str) -> None:
        """Say how the slot ended. Tried again where another job's row came between."""
        entry = Entry(job=job, slot=slot, state="closed", at=now, exit_code=exit_code, detail=detail)
        create_table(self._lake, JOBS, SCHEMA).append(rows(entry))

    def last(self, job: str) -> Entry | None:
        """Return the newest row of the job."""
        return last_entry(create_table(self._lake, JOBS, SCHEMA), job)

    def is_open(self, entry: Entry | None) -> bool:
        """True where the row is a claim of ours that was not closed."""
        return entry is not None and entry.state == "claimed" and entry.detail == self.holder

    def _is_free(self, last: Entry, slot: datetime, now: datetime) -> bool:
        if last.state == "closed":
            return last.slot != slot
        return last.detail == self.holder or is_gone(last.detail or "", since=now - last.at)


def last_entry(table: Table, job: str) -> Entry | None:
    """Return the job's newest row; only the newest files are read where it is among them."""
    newest = table.maximum("at")
    if not isinstance(newest, datetime):
        return None
    for where in (pc.field("at") >= newest - 4 * RENEW, None):
        found = [Entry(**row) for row in table.read(where=where).to_pylist() if row["job"] == job]
        if found:
            return max(found, key=lambda entry: (entry.at, entry.state == "closed"))
    return None


def write(table: Table, entry: Entry) -> None:
    """Append on the version that was read; raises CommitConflict where somebody was faster."""
    table.append_pinned(rows(entry))


def rows(entry: Entry) -> pa.Table:
    """Return the entry as Arrow."""
    return pa.Table.from_pylist([msgspec.structs.asdict(entry)], schema=SCHEMA)


def this_process() -> str:
    """Return who holds a claim of ours: machine, process, and when it started, as numbers are used again."""
    return f"{socket.gethostname()} {os.getpid()} {started(os.getpid())}"


def is_gone(holder: str, *, since: timedelta) -> bool:
    """True where the holder runs no more; ``since`` is how long ago it was last heard of."""
    machine, _, process = holder.partition(" ")
    if machine != socket.gethostname():
        return since > HEARD
    number, _, start = process.partition(" ")
    return not number.isdigit() or started(int(number)) != start


def started(process: int) -> str:
    """Return when a process of this machine started, in its kernel's words; empty where none runs."""
    try:
        # The name, in brackets, may hold spaces; the state follows, and 19 fields on the start: proc(5).
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return "" if state == "Z" else fields[18]
    except (OSError, ValueError, IndexError):
        return "" if not is_running(process) else "?"


def is_running(process: int) -> bool:
    """True where a process of that number is there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
