"""Lock: one process of this machine at a time at what is in a folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from lake.paths import Lake


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Wait until nobody else holds the folder, and hold it; a process that dies lets go of it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def one_builder(lake: Lake) -> AbstractContextManager[None]:
    """Wait until nobody else of this machine commits silver and gold, and let nobody until it is published.

    Two who committed their tables beside one another could each be first in one, and none would publish;
    and what is committed but not yet published looks like what a crash left. In an object store nothing
    keeps them apart: both may meet a conflict there, and run again.
    """
    folder = Path(lake.place) / "bronze"
    return locked(folder) if lake.is_local and folder.exists() else nullcontext()
