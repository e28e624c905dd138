"""The request budget that all processes of this machine share for one key.

A SQLite file records when requests were sent and which runs wait: it locks across processes and
survives a killed one. Times are those of the machine's monotonic clock, which all its processes
share. After the machine restarts, older entries lie in the future, further ahead than any valid
entry, and are dropped.

If several runs wait, the shorter job goes first: a five-minute sync overtakes a full load that
takes hours.
"""

import hashlib
import sqlite3
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from ingest.protocol import LONGEST_RETRY_AFTER
from ingest.shared_file import SharedFile
from lake.errors import LakeError
from lake.paths import OWNER_ONLY, private_folder

# Seconds added to the source's span. If an answer is quicker than this, its time need not be recorded.
MARGIN = 0.5
# Seconds for which a claim to go first outlives the time at which the job meant to send.
CLAIM_SECONDS = 1.0
# Seconds after which a job asks again if a job of a lower rank waits.
YIELD = 0.1
SCHEMA = """
create table if not exists sent (at real not null);
create index if not exists sent_at on sent (at);
create table if not exists waiting (id text primary key, rank integer not null, until real not null);
create table if not exists pause (until real not null);
"""


class Budget:
    """The shared budget, opened by one run: ``requests`` in any ``per`` seconds.

    The source may count a request at any moment until it is answered. So a request occupies its
    place for ``per`` from the answer on, or from when the place was taken if there is no answer
    yet: no answer takes as long as ``per``. ``rank`` orders the waiting runs: smaller goes first.
    If a run finds the file corrupt, it resets the file, and all runs wait for ``per``, because
    the requests sent before are unknown.
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
        self._file = SharedFile(file, schema=SCHEMA, on_reset=lambda sqlite: self._pause(sqlite, self.per))

    def take(self) -> float:
        """Take a place and return 0, or return the seconds after which to ask again.

        ``taken_at`` identifies the place. The clock is read under the lock, so no other process has
        written a later time.
        """
        return self._file.run(self._take)

    def record_answer(self, taken_at: float) -> None:
        """Count the request from now on: it was answered, or lost. The margin covers a quick answer."""
        by = self._clock() - MARGIN
        if by > taken_at:
            self._file.run(lambda sqlite: move_request(sqlite, taken_at, by))

    def pause(self, seconds: float) -> None:
        """Let no process send for this many seconds: the source answered 429."""
        self._file.run(lambda sqlite: self._pause(sqlite, min(seconds, LONGEST_RETRY_AFTER)))

    def close(self) -> None:
        """Delete the claim to a place."""
        with suppress(LakeError):  # a claim that can't be deleted expires
            self._file.run(self._leave)

    def _take(self, sqlite: sqlite3.Connection) -> float:
        now = self._clock()
        delete_expired(sqlite, now, per=self.per)
        wait = self._wait(sqlite, now)
        if wait <= 0:
            sqlite.execute("insert into sent values (?)", (now,))
            self.taken_at = now
            self._leave(sqlite)
        else:
            claim = (self._id, self._rank, now + min(wait, self.per) + CLAIM_SECONDS)
            sqlite.execute("insert or replace into waiting values (?, ?, ?)", claim)
        return wait

    def _wait(self, sqlite: sqlite3.Connection, now: float) -> float:
        """Return the seconds until a place is free for this rank."""
        paused = scalar(sqlite, "select max(until) from pause")
        if paused is not None:
            return paused - now
        # A place is free once the request that is N sends back has left the span.
        blocking = scalar(sqlite, "select at from sent order by at desc limit 1 offset ?", self.requests - 1)
        if blocking is not None:
            return blocking + self.per - now
        ahead = scalar(sqlite, "select count(*) from waiting where rank < ?", self._rank)
        return YIELD if ahead else 0.0

    def _pause(self, sqlite: sqlite3.Connection, seconds: float) -> None:
        sqlite.execute("insert into pause values (?)", (self._clock() + seconds,))

    def _leave(self, sqlite: sqlite3.Connection) -> None:
        sqlite.execute("delete from waiting where id = ?", (self._id,))


def delete_expired(sqlite: sqlite3.Connection, now: float, *, per: float) -> None:
    """Delete entries that have expired, and entries further ahead than any valid one."""
    sqlite.execute("delete from sent where at <= ? or at > ?", (now - per, now))
    sqlite.execute("delete from pause where until <= ? or until > ?", (now, now + LONGEST_RETRY_AFTER))
    sqlite.execute("delete from waiting where until < ? or until > ?", (now, now + per + CLAIM_SECONDS))


def move_request(sqlite: sqlite3.Connection, at: float, to: float) -> None:
    """Count a request sent at one time as sent at another."""
    sqlite.execute("delete from sent where rowid = (select rowid from sent where at = ? limit 1)", (at,))
    sqlite.execute("insert into sent values (?)", (to,))


def scalar(sqlite: sqlite3.Connection, query: str, *values: object) -> float | None:
    """Return the value of a query that selects one, None if it is null."""
    row = sqlite.execute(query, values).fetchone()
    return None if row is None or row[0] is None else float(row[0])


def budget_file(folder: str, *, base_url: str, key: str) -> Path:
    """Return the file that all processes with this key share; the key can't be read from it.

    If no folder is set, or the folder is created here, the file belongs to this user alone. A group that may
    write to the folder shares the file.
    """
    path = Path(folder) if folder else private_folder("budget")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(OWNER_ONLY)
    except FileExistsError:
        pass  # unchanged: its owner has set who may write there
    except OSError as error:
        raise LakeError(
            f"{path}: the folder can't be created ({error.strerror}); set source.budget_folder to another"
        ) from None
    if not path.is_dir():
        raise LakeError(f"{path} is no folder; set source.budget_folder to one")
    text = f"{canonical_url(base_url)}\n{key}"
    digest = hashlib.blake2b(text.encode(), digest_size=12, key=b"keylake budget").hexdigest()
    return path / f"budget-{digest}.sqlite"


def canonical_url(url: str) -> str:
    """Return the URL in one spelling: the host in lower case, no slash at the end. Pure."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"
