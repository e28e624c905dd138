"""Checked: the files that this process has found whole, so that it reads each of them once."""

import os
from pathlib import Path

# What changes if a file is written again: its number, its bytes, and the time of its content.
Identity = tuple[int, int, int]


class Checked:
    """The identities of whole files by path. It is emptied when it has ``limit`` entries."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: dict[str, Identity] = {}

    def has(self, path: str | Path) -> bool:
        """Return True if a file was found whole, and did not change since. Raises FileNotFoundError."""
        return self._known.get(str(path)) == identity(path)

    def add(self, path: str | Path, before: Identity) -> None:
        """Note that a file is whole that had this identity before it was read."""
        if len(self._known) >= self._limit:
            self.clear()
        self._known[str(path)] = before

    def clear(self) -> None:
        """Forget all files, as after a restart."""
        self._known.clear()


def identity(path: str | Path) -> Identity:
    """Return the identity of a file. Raises FileNotFoundError."""
    status = os.stat(path)
    return status.st_ino, status.st_size, status.st_mtime_ns
