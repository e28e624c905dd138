"""Lock: one process of this machine at a time works on a folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from lake.paths import Lake

log = structlog.get_logger()


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Lock the folder; if another process has the lock, wait. A process that dies releases its lock."""
    with open_folder(folder) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def one_builder(lake: Lake) -> Iterator[None]:
    """Lock silver and gold until their release is published; if another build has the lock, wait.

    If two builds committed concurrently, each could be first at one table, and neither could publish.
    Also, tables that are committed but not yet published look like the remains of a crash. The lock
    works for processes of one machine. In an object store, and on a disk without locks, concurrent
    builds are not kept apart: both may meet a commit conflict, and have to run again.
    """
    folder = Path(lake.place) / "bronze"
    if not lake.is_local or not folder.exists():
        yield
        return
    with open_folder(folder) as handle:
        lock_or_wait(handle)
        yield


@contextmanager
def open_folder(folder: str | Path) -> Iterator[int]:
    """Yield a handle of a folder; closing it at the end releases its lock."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def lock_or_wait(handle: int) -> None:
    """Lock a folder; wait, with a log event, if another build has the lock.

    A disk, such as one of a network, may not support locks: then only a warning is logged.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.info("lake.waits_for_another_build")
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        log.warning("lake.locks_unsupported", reason=str(error))
