"""The request budget that all processes of this machine share for one key.

SQLite holds when requests were sent and who is waiting: it locks across processes
and survives any of them being killed. Times are the machine's monotonic clock, which
all its processes share; after a restart of the machine older entries lie in the
future and are dropped.

A place in the budget goes to the shorter job first: a five-minute sync overtakes a
full load that runs for hours.
"""

import hashlib
import sqlite3
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from lake.places import private_folder

# Requests do not travel equally fast: the span is held a little longer than the source's.
MARGIN = 0.5
# How long a job's claim to go first outlives the moment it meant to send at.
PATIENCE = 1.0
YIELD = 0.1
SCHEMA = """
create table if not exists sent (at real not null);
create index if not exists sent_at on sent (at);
create table if not exists waiting (id text primary key, rank integer not null, until real not null);
create table if not exists pause (until real not null);
"""


class Budget:
    """The shared budget, held open by one run: ``requests`` in any ``per`` seconds.

    ``rank`` orders those who wait: smaller goes first.
    """

    def __init__(
        self,
        file: Path,
        *,
        requests: int,
        rank: int = 0,
        per: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._requests = requests
        self._rank = rank
        self._per = per + MARGIN
        self._id = uuid.uuid4().hex
        self._sqlite = sqlite3.connect(file, isolation_level=None, timeout=30)
        self._sqlite.execute("pragma synchronous = off")  # a power cut loses a minute that is over by then
        self._sqlite.executescript(SCHEMA)

    def take(self) -> float:
        """Take a place and return 0, or return in how many seconds to ask again.

        The clock is read under the lock: what another process wrote is never in the future.
        """
        self._sqlite.execute("begin immediate")
        try:
            now = self._clock()
            wait = self._wait(now)
            if wait <= 0:
                self._sqlite.execute("insert into sent values (?)", (now,))
                self._sqlite.execute("delete from waiting where id = ?", (self._id,))
            else:
                claim = (self._id, self._rank, now + wait + PATIENCE)
                self._sqlite.execute("insert or replace into waiting values (?, ?, ?)", claim)
        finally:
            self._sqlite.execute("commit")
        return wait

    def pause(self, seconds: float) -> None:
        """Let nobody send for so long: the source asked for patience."""
        self._sqlite.execute("insert into pause values (?)", (self._clock() + seconds,))

    def close(self) -> None:
        """Give up the claim to a place."""
        self._sqlite.execute("delete from waiting where id = ?", (self._id,))
        self._sqlite.close()

    def _wait(self, now: float) -> float:
        """Return the seconds until a place is free for this rank; forget what is over."""
        self._sqlite.execute("delete from sent where at <= ? or at > ?", (now - self._per, now))
        self._sqlite.execute("delete from pause where until <= ? or until > ?", (now, now + 86400))
        self._sqlite.execute("delete from waiting where until < ?", (now,))
        paused = self._one("select max(until) from pause")
        if paused:
            return paused - now
        # The place is free when the request that is N sends ago has left the span.
        blocking = self._one("select at from sent order by at desc limit 1 offset ?", self._requests - 1)
        if blocking is not None:
            return blocking + self._per - now
        ahead = self._one("select count(*) from waiting where rank < ?", self._rank)
        return YIELD if ahead else 0.0

    def _one(self, query: str, *values: object) -> float | None:
        row = self._sqlite.execute(query, values).fetchone()
        return None if row is None or row[0] is None else float(row[0])


def budget_file(folder: str, *, base_url: str, key: str) -> Path:
    """Return the file that all processes with this key share; the key can't be read from it.

    Without a folder it is one that belongs to this user alone.
    """
    place = Path(folder) if folder else private_folder("budget")
    place.mkdir(parents=True, exist_ok=True)
    digest = hashlib.blake2b(f"{base_url}\n{key}".encode(), digest_size=12, key=b"keylake budget").hexdigest()
    return place / f"budget-{digest}.sqlite"
