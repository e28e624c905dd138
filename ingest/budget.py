"""The request budget that all processes of this machine share for one key.

SQLite holds when requests were sent and who is waiting: it locks across processes
and survives any of them being killed. Times are the machine's monotonic clock, which
all its processes share; after a restart of the machine older entries lie in the
future, further than anybody could have meant, and are dropped.

A place in the budget goes to the shorter job first: a five-minute sync overtakes a
full load that runs for hours.
"""

import hashlib
import sqlite3
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from ingest.protocol import LONGEST_PATIENCE
from ingest.shared_file import SharedFile
from lake.errors import LakeError
from lake.paths import private_folder

# The span is held a little longer than the source's: what is answered sooner needs no second look.
MARGIN = 0.5
# How long a job's claim to go first outlives the moment it meant to send at.
PATIENCE = 1.0
YIELD = 0.1
# What /tmp has: everybody writes there, nobody removes what is another's.
FOR_ALL = 0o1777
SCHEMA = """
create table if not exists sent (at real not null);
create index if not exists sent_at on sent (at);
create table if not exists waiting (id text primary key, rank integer not null, until real not null);
create table if not exists pause (until real not null);
"""


class Budget:
    """The shared budget, held open by one run: ``requests`` in any ``per`` seconds.

    The source counts a request at some moment until it is answered. So a place is held
    for ``per`` from the answer on, and from when it was taken while there is none: no
    answer takes as long as ``per``. ``rank`` orders those who wait: smaller goes first.
    Whoever finds the file broken begins it anew, and all wait for ``per``: what was sent
    before is not known.
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
        self.requests = requests
        self._rank = rank
        self.per = per + MARGIN
        self._id = uuid.uuid4().hex
        self.taken_at = 0.0
        self._file = SharedFile(file, schema=SCHEMA, anew=lambda sqlite: self._pause(sqlite, self.per))

    def take(self) -> float:
        """Take a place and return 0, or return in how many seconds to ask again.

        ``taken_at`` says which place it is. The clock is read under the lock: what another
        process wrote is never in the future.
        """
        return self._file.run(self._take)

    def answered(self, taken_at: float) -> None:
        """Count the request from now on: it was answered, or lost. The margin covers a quick answer."""
        by = self._clock() - MARGIN
        if by > taken_at:
            self._file.run(lambda sqlite: move(sqlite, taken_at, by))

    def pause(self, seconds: float) -> None:
        """Let nobody send for so long: the source asked for patience."""
        self._file.run(lambda sqlite: self._pause(sqlite, min(seconds, LONGEST_PATIENCE)))

    def close(self) -> None:
        """Give up the claim to a place."""
        with suppress(LakeError):  # a claim that can't be taken back ends by itself
            self._file.run(self._leave)

    def _take(self, sqlite: sqlite3.Connection) -> float:
        now = self._clock()
        forget(sqlite, now, per=self.per)
        wait = self._wait(sqlite, now)
        if wait <= 0:
            sqlite.execute("insert into sent values (?)", (now,))
            self.taken_at = now
            self._leave(sqlite)
        else:
            claim = (self._id, self._rank, now + min(wait, self.per) + PATIENCE)
            sqlite.execute("insert or replace into waiting values (?, ?, ?)", claim)
        return wait

    def _wait(self, sqlite: sqlite3.Connection, now: float) -> float:
        """Return the seconds until a place is free for this rank."""
        paused = one(sqlite, "select max(until) from pause")
        if paused is not None:
            return paused - now
        # The place is free when the request that is N sends ago has left the span.
        blocking = one(sqlite, "select at from sent order by at desc limit 1 offset ?", self.requests - 1)
        if blocking is not None:
            return blocking + self.per - now
        ahead = one(sqlite, "select count(*) from waiting where rank < ?", self._rank)
        return YIELD if ahead else 0.0

    def _pause(self, sqlite: sqlite3.Connection, seconds: float) -> None:
        sqlite.execute("insert into pause values (?)", (self._clock() + seconds,))

    def _leave(self, sqlite: sqlite3.Connection) -> None:
        sqlite.execute("delete from waiting where id = ?", (self._id,))


def forget(sqlite: sqlite3.Connection, now: float, *, per: float) -> None:
    """Delete what is over, and what lies further ahead than anybody could have meant."""
    sqlite.execute("delete from sent where at <= ? or at > ?", (now - per, now))
    sqlite.execute("delete from pause where until <= ? or until > ?", (now, now + LONGEST_PATIENCE))
    sqlite.execute("delete from waiting where until < ? or until > ?", (now, now + per + PATIENCE))


def move(sqlite: sqlite3.Connection, at: float, to: float) -> None:
    """Count a request sent ``at`` a time as sent at ``to``."""
    sqlite.execute("delete from sent where rowid = (select rowid from sent where at = ? limit 1)", (at,))
    sqlite.execute("insert into sent values (?)", (to,))


def one(sqlite: sqlite3.Connection, query: str, *values: object) -> float | None:
    """Return the one value a query finds."""
    row = sqlite.execute(query, values).fetchone()
    return None if row is None or row[0] is None else float(row[0])


def budget_file(folder: str, *, base_url: str, key: str) -> Path:
    """Return the file that all processes with this key share; the key can't be read from it.

    Without a folder it is one that belongs to this user alone. A folder that is said is
    there to be shared: one made here is open to all users.
    """
    place = Path(folder) if folder else private_folder("budget")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir()
        place.chmod(FOR_ALL)
    except FileExistsError:
        pass  # as it is: its owner has said who may write there
    except OSError as error:
        raise LakeError(
            f"{place}: no folder can be made there ({error.strerror}); set source.budget_folder to another"
        ) from None
    if not place.is_dir():
        raise LakeError(f"{place} is no folder; set source.budget_folder to one")
    said = f"{same_url(base_url)}\n{key}"
    digest = hashlib.blake2b(said.encode(), digest_size=12, key=b"keylake budget").hexdigest()
    return place / f"budget-{digest}.sqlite"


def same_url(url: str) -> str:
    """Return the URL as everybody would write it: the host in lower case, no slash at the end. Pure."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"
