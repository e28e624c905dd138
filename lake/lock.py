"""Lock: one process of this machine at a time at what is in a folder."""

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
    """Wait until nobody else holds the folder, and hold it; a process that dies lets go of it."""
    with opened(folder) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def one_builder(lake: Lake) -> Iterator[None]:
    """Wait until nobody else of this machine commits silver and gold, and let nobody until it is published.

    Two who committed their tables beside one another could each be first in one, and none would publish;
    and what is committed but not yet published looks like what a crash left. In an object store, and on a
    disk without locks, nothing keeps them apart: both may meet a conflict there, and run again.
    """
    folder = Path(lake.place) / "bronze"
    if not lake.is_local or not folder.exists():
        yield
        return
    with opened(folder) as handle:
        wait_for(handle)
        yield


@contextmanager
def opened(folder: str | Path) -> Iterator[int]:
    """Give a handle of a folder; what it locks is free when it is closed."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def wait_for(handle: int) -> None:
    """Hold a folder, saying so where another build has it; a disk may have no locks, as some of a network."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.info("lake.waits_for_another_build")
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        log.warning("lake.no_locks_here", reason=str(error))
