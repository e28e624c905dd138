"""A small SQLite file that processes share, of several users where its folder lets them.

What it holds matters for a minute, so it is never repaired: one that is broken is
begun anew, by whoever meets it first. It is emptied where it lies, not replaced: in a
sticky folder nobody may replace what is another's.
"""

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import structlog

from lake.errors import LakeError
from lake.lock import locked

log = structlog.get_logger()
Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Result]
BUSY_SECONDS = 30
# SQLITE_ERROR is what a file says whose tables somebody emptied meanwhile.
BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}


class SharedFile:
    """The file; ``anew`` writes what must be said in one whose content was lost."""

    def __init__(self, file: Path, *, schema: str, anew: Work[object]) -> None:
        self._file = file
        self._schema = schema
        self._anew = anew
        try:
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from None

    def run(self, work: Work[Result]) -> Result:
        """Do the work alone, in one transaction. Raises LakeError where the file can't be written."""
        try:
            return self._alone(work)
        except sqlite3.Error as error:
            if not is_broken(error) and self._file.exists():
                raise self._unusable(error) from None
        try:
            self._prepare(was_there=True)
            return self._alone(work)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from None

    def _alone(self, work: Work[Result]) -> Result:
        """Do the work on a connection of its own: one kept open could believe what it read before."""
        with self._connection() as sqlite:
            sqlite.execute("begin immediate")
            found = work(sqlite)
            sqlite.execute("commit")
        return found

    def _prepare(self, *, was_there: bool = False) -> None:
        """Make the file, or begin it anew, at need; one process at a time does so."""
        with locked(self._file.parent):
            is_new = make(self._file)
            try:
                is_lost = self._check() != is_new or (is_new and was_there)
            except sqlite3.Error as error:
                if not is_broken(error):
                    raise
                os.truncate(self._file, 0)
                is_lost = self._check()
            if is_lost:
                log.warning("ingest.budget_begun_anew", file=str(self._file))
                self._alone(self._anew)

    def _check(self) -> bool:
        """Let SQLite look for damage and make the tables; True where there were none."""
        with self._connection() as sqlite:
            (said,) = sqlite.execute("pragma quick_check(1)").fetchone()
            if said != "ok":
                raise broken(said)
            (tables,) = sqlite.execute("select count(*) from sqlite_master").fetchone()
            sqlite.executescript(self._schema)
        return not tables

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        # Opened without O_CREAT, which Linux may refuse for what another user made in a sticky folder.
        place = f"file:{quote(str(self._file.absolute()))}?mode=rw"
        with closing(sqlite3.connect(place, uri=True, isolation_level=None, timeout=BUSY_SECONDS)) as sqlite:
            # A journal beside it would have to be written and removed by other users too.
            sqlite.execute("pragma journal_mode = memory")
            sqlite.execute("pragma synchronous = off")
            yield sqlite

    def _unusable(self, error: Exception) -> LakeError:
        return LakeError(
            f"{self._file}: the request budget can't be kept there ({error}); let all users of the key write"
            " to the file and its folder, or set source.budget_folder to one they can"
        )


def make(file: Path) -> bool:
    """Make the file where there is none, for those to write whom its folder lets write; True if it is new.

    Raises LakeError for a link: it could lead to what must not be emptied.
    """
    shared = file.parent.stat().st_mode & 0o022
    mode = 0o600 | shared | shared << 1
    try:
        handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    except FileExistsError:
        found = file.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise LakeError(f"{file} is no file; remove it, the request budget is kept there") from None
        if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) != mode:
            file.chmod(mode)
        return False
    os.fchmod(handle, mode)
    os.close(handle)
    return True


def is_broken(error: sqlite3.Error) -> bool:
    """True where the file's content is at fault, and neither its rights nor the disk."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in BROKEN


def broken(said: str) -> sqlite3.DatabaseError:
    """Return the error of a file that SQLite's own check finds broken."""
    error = sqlite3.DatabaseError(said)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error
