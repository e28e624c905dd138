"""A small SQLite file that processes share, also those of a group if the group may write to its folder.

Users outside the group can neither read nor lock it: a lock of theirs would stop all runs.

Its content matters for a minute, so it is never repaired: the first process that finds it
corrupt resets it. The file is truncated, not replaced: in a sticky folder no user may replace
the file of another.
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
from lake.lock import PRIVATE, holders_of, locked

log = structlog.get_logger()
Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Result]
# Permissions of a file that a group shares.
SHARED = 0o660
# Seconds to wait for the lock of another process.
BUSY_SECONDS = 30
# SQLITE_ERROR is the result if another process has truncated the tables.
CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}


class SharedFile:
    """The file; ``on_reset`` writes the entries that a file needs whose content was lost."""

    def __init__(self, file: Path, *, schema: str, on_reset: Work[object]) -> None:
        self._file = file
        self._schema = schema
        self._on_reset = on_reset
        try:
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from None

    def run(self, work: Work[Result]) -> Result:
        """Do the work in one exclusive transaction. Raises LakeError if the file can't be written."""
        try:
            return self._transact(work)
        except sqlite3.Error as error:
            if not is_corrupt(error) and self._file.exists():
                raise self._unusable(error) from None
        try:
            self._prepare(was_there=True)
            return self._transact(work)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from None

    def _transact(self, work: Work[Result]) -> Result:
        """Do the work on a new connection: an open one could rely on what it read before."""
        with self._connection() as sqlite:
            sqlite.execute("begin immediate")
            result = work(sqlite)
            sqlite.execute("commit")
        return result

    def _prepare(self, *, was_there: bool = False) -> None:
        """Create the file, or reset it, if needed; one process at a time does so."""
        lock = lock_of(self._file)
        with locked(lock, seconds=BUSY_SECONDS):
            share(lock)
            is_new = create_file(self._file)
            try:
                is_lost = self._check() != is_new or (is_new and was_there)
            except sqlite3.Error as error:
                if not is_corrupt(error):
                    raise
                os.truncate(self._file, 0)
                is_lost = self._check()
            if is_lost:
                log.warning("ingest.budget_reset", file=str(self._file))
                self._transact(self._on_reset)

    def _check(self) -> bool:
        """Let SQLite look for damage, and create the tables; True if there were none."""
        with self._connection() as sqlite:
            (verdict,) = sqlite.execute("pragma quick_check(1)").fetchone()
            if verdict != "ok":
                raise corruption(verdict)
            (tables,) = sqlite.execute("select count(*) from sqlite_master").fetchone()
            sqlite.executescript(self._schema)
        return not tables

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        # Opened without O_CREAT: Linux may refuse that for the file of another user in a sticky folder.
        uri = f"file:{quote(str(self._file.absolute()))}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_SECONDS)) as sqlite:
            # A journal file would have to be written and removed by other users too.
            sqlite.execute("pragma journal_mode = memory")
            sqlite.execute("pragma synchronous = off")
            yield sqlite

    def _unusable(self, error: Exception) -> LakeError:
        if is_busy(error):
            return LakeError(
                f"{self._file}: the request budget has been locked for {BUSY_SECONDS} s"
                f" by {holders_of(self._file)}; end it, or let it go on, and run this again"
            )
        return LakeError(
            f"{self._file}: the request budget can't be kept there ({error}); let a group of all users of the"
            " key write to the folder (chgrp GROUP, chmod 2770), or set source.budget_folder to another"
        )


def create_file(file: Path) -> bool:
    """Create the file if there is none, and share it; True if it is new.

    Raises LakeError for a link: its target might be a file that must not be truncated.
    """
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, PRIVATE))
    except FileExistsError:
        if not stat.S_ISREG(file.lstat().st_mode):
            raise LakeError(f"{file} is no file; remove it, the request budget is kept there") from None
        share(file)
        return False
    share(file)
    return True


def share(file: Path) -> None:
    """Let the folder's group, if it may write to the folder, write to a file of this user; and no other."""
    status, folder = file.lstat(), file.parent.stat()
    if os.geteuid() not in (0, status.st_uid):
        return
    is_shared = bool(folder.st_mode & stat.S_IWGRP)
    if is_shared and status.st_gid != folder.st_gid:
        try:
            os.chown(file, -1, folder.st_gid, follow_symlinks=False)
        except PermissionError:  # this user is not in the group
            is_shared = False
    mode = SHARED if is_shared else PRIVATE
    if stat.S_IMODE(status.st_mode) != mode:
        file.chmod(mode)


def lock_of(file: Path) -> Path:
    """Return the lock under which the file is created or reset."""
    return file.with_name(f"{file.name}.lock")


def is_corrupt(error: sqlite3.Error) -> bool:
    """True if the error is in the file's content, not in its rights or the disk."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in CORRUPT


def is_busy(error: Exception) -> bool:
    """True if another process has the file locked for longer than BUSY_SECONDS."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def corruption(verdict: str) -> sqlite3.DatabaseError:
    """Return the error of a file that fails SQLite's own check."""
    error = sqlite3.DatabaseError(verdict)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error
