"""Claim: one process at a time at a kind of work, on whichever machine it runs.

On this disk the kernel keeps processes apart, and lets go for one that died (``lake.lock``). An
object store has no such lock: there a claim is a row of ``ops.claims``, appended on the version
in which nobody had one, so that of two who claim at once one is refused. It lasts for a while:
who is still at it renews it, and who died holds up nobody for longer.
"""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from lake.errors import CommitConflict
from lake.lock import locked
from lake.paths import Lake
from lake.table import Table, create_table

log = structlog.get_logger()

CLAIMS = "ops.claims"
SCHEMA = pa.schema(
    [
        pa.field("number", pa.int64(), False),
        pa.field("holder", pa.string(), False),
        pa.field("claimed_at", pa.timestamp("us", "UTC"), False),
        pa.field("lasts_until", pa.timestamp("us", "UTC"), False),
    ]
)
# Much longer than any part of the work takes between two renewals.
LASTS = timedelta(minutes=10)
# Seconds between two looks of somebody who waits.
LOOK_AGAIN = 1.0
TRIES = 20


class Row(msgspec.Struct, frozen=True):
    """One row of ``ops.claims``; the one with the greatest number counts, until its time is over."""

    number: int
    holder: str
    claimed_at: datetime
    lasts_until: datetime


class Claim:
    """What is held while the work lasts."""

    def renew(self) -> None:
        """Hold it for longer; to be called between parts of the work.

        Raises CommitConflict where another took it.
        """


class StoreClaim(Claim):
    """A claim in an object store, of one holder."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._holder = uuid.uuid4().hex
        self._until = datetime.min.replace(tzinfo=UTC)

    def take(self) -> None:
        """Wait until nobody else has it, and have it."""
        said = None
        while True:
            table = create_table(self._lake, CLAIMS, SCHEMA)
            newest = newest_in(table)
            if newest is None or newest.lasts_until <= datetime.now(UTC):
                with suppress(CommitConflict):
                    self._append(table, newest, LASTS)
                    return
            elif newest.number != said:
                said = newest.number
                log.info("claim.waits_for_another", until=newest.lasts_until.isoformat(timespec="seconds"))
            time.sleep(LOOK_AGAIN)

    def renew(self) -> None:
        """Hold it for longer, once half of its time is over. Raises CommitConflict where another has it."""
        if datetime.now(UTC) > self._until - LASTS / 2:
            self._go_on(LASTS)

    def give_back(self) -> None:
        """Let the next one have it; where that can't be said, its time runs out."""
        with suppress(CommitConflict):
            self._go_on(timedelta())

    def _go_on(self, lasts: timedelta) -> None:
        for left in reversed(range(TRIES)):
            table = create_table(self._lake, CLAIMS, SCHEMA)
            newest = newest_in(table)
            if newest is None or newest.holder != self._holder:
                raise table.conflict("another process took over the work")
            try:
                return self._append(table, newest, lasts)
            except CommitConflict:  # the ledger was compacted: whose the claim is, is seen anew
                if not left:
                    raise

    def _append(self, table: Table, newest: Row | None, lasts: timedelta) -> None:
        now = datetime.now(UTC)
        row = Row(newest.number + 1 if newest else 1, self._holder, now, now + lasts)
        table.append_pinned(pa.Table.from_pylist([msgspec.structs.asdict(row)], schema=SCHEMA))
        self._until = row.lasts_until


@contextmanager
def claimed(lake: Lake, layer: str) -> Iterator[Claim]:
    """Wait until nobody else is at the work, and hold it; on this disk by the folder of a layer."""
    if lake.is_local:
        with locked(Path(lake.place) / layer):
            yield Claim()
        return
    claim = StoreClaim(lake)
    claim.take()
    try:
        yield claim
    finally:
        claim.give_back()


def newest_in(table: Table) -> Row | None:
    """Return the row that counts, in the version held; None where nobody ever claimed anything."""
    number = table.maximum("number")
    if not isinstance(number, int):
        return None
    (row,) = table.read(where=pc.field("number") == number).to_pylist()
    return Row(**row)
