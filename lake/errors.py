"""Errors: the expected failures, in one tree.

There is one class for each failure that a caller handles differently. A message is one line:
the subject, what was found, what was expected and the next step. An operator sees only this
line. ``exit_code`` is the exit code of the process.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

# The system's words for a full disk and a full quota.
FULL_DISK = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))


class LakeError(Exception):
    """An expected failure: the operator gets one line and no traceback."""

    exit_code = 1


class ConfigError(LakeError):
    """A setting is unknown, malformed or missing."""

    exit_code = 2


class UsageError(LakeError):
    """A command can't work with its arguments."""

    exit_code = 2


class TableMissing(LakeError):
    """An expected Delta table, version or data file does not exist."""


class TableDamaged(LakeError):
    """A file of a table is not as it was written: a disk or another program has changed it."""


class NoRelease(LakeError):
    """The requested release was never published, or is not available in this lake any more."""


class ContractBroken(LakeError):
    """Rows do not match the columns and types of their table's contract."""


class CommitConflict(LakeError):
    """Another process committed first; this commit was not made."""


class CheckFailed(LakeError):
    """Built rows broke a check; nothing was committed, and the last release is still served."""

    exit_code = 3


class ModelError(LakeError):
    """A model's header or SQL is invalid."""


class IngestIncomplete(LakeError):
    """Part of the requested data did not arrive; the rest is stored, and the watermark stays."""

    exit_code = 4


class SourceError(LakeError):
    """The source did not return a usable response."""


class SourceDown(SourceError):
    """No retry got a usable response: an outage, a time-out or malformed data."""


class RateLimited(SourceError):
    """The source limits the request rate. ``retry_after`` is in seconds, None if it was not given."""

    def __init__(self, message: str, *, retry_after: float | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class KeyRefused(SourceError):
    """The source does not accept the API key. All requests stop, because each would fail."""


class NotFound(SourceError):
    """The source does not have the requested object. This is a valid response, not an outage."""


class RequestRefused(SourceError):
    """The source refuses this request; a retry can't help."""


class LibraryPanic(LakeError):
    """A library that is written in Rust failed where its authors expected no failure."""


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """Raise LibraryPanic in place of a panic, which is no Exception: it would end a thread or a server.

    Use it around every task that may call such a library and has to survive its failures.
    """
    try:
        yield
    except BaseException as error:
        if (panic := panic_in(error)) is None:
            raise
        raise LibraryPanic(
            f"a library failed unexpectedly: {str(panic).strip() or type(panic).__name__};"
            " run it again, and if it fails again, report it with what --debug prints"
        ) from error


def panic_in(error: BaseException) -> BaseException | None:
    """Return the panic that an error is or contains; None if there is none. Pure.

    Each library has a class of its own for it, and none exports it.
    """
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(panic_in, error.exceptions)), None)
    return error if type(error).__name__ == "PanicException" else None


def is_disk_full(error: BaseException) -> bool:
    """Return True if a write failed because the disk, or the user's quota, is full. Pure.

    Libraries keep only the system's text of such an error, so the text counts too.
    """
    is_system_error = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return is_system_error or any(text in str(error) for text in FULL_DISK)
