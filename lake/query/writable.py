"""Writable: whether a person's SQL may write a file or folder: everywhere but in a lake or a Delta table."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from lake.errors import UsageError
from lake.paths import LAYERS

LOG = "_delta_log"
# The names of a process's own streams; DuckDB writes to them as to a file.
STREAMS = ("/dev/stdout", "/dev/stderr", "/dev/null")
FILE_URI = re.compile(r"^file:(//(localhost)?(?=/))?")


def writable(path: str, *, instead: str = "write to a folder outside") -> str:
    """Return the absolute path of a file or folder, its links resolved. Raises UsageError inside a lake.

    A folder that contains a lake is refused too, because COPY can replace the whole content of a
    folder. ``instead`` is the next step.
    """
    if path in STREAMS:
        return path
    real = Path(readable(path))
    if around := next((folder for folder in (real, *real.parents) if is_protected(folder)), None):
        raise UsageError(f"{path!r} is inside {around}, which only commits of keylake change; {instead}")
    if inside := next(protected_in(real), None):
        raise UsageError(f"{path!r} contains {inside}, which only commits of keylake change; {instead}")
    if real.is_file() and real.stat().st_nlink > 1:
        raise UsageError(
            f"{path!r} has a second name, a hard link, which may be in a lake; write to a new file"
        )
    return str(real)


def readable(path: str) -> str:
    """Return the absolute path of a file of this machine, its links resolved. Raises UsageError for a URL."""
    plain = FILE_URI.sub("", path, count=1)
    if "://" in plain or "\0" in plain or not plain:
        raise UsageError(f"{path!r} is no file of this machine; use one, and copy it with another program")
    return os.path.realpath(os.path.expanduser(plain) if plain.startswith("~/") else plain)


def is_protected(folder: Path) -> bool:
    """Return True if a folder is the root of a lake or of a Delta table, or a layer of a lake."""
    return is_table(folder) or any(
        map(is_table, (table for layer in LAYERS for table in folders(folder / layer)))
    )


def is_table(folder: Path) -> bool:
    """Return True if a folder is a Delta table: it has a log."""
    try:
        return (folder / LOG).is_dir()
    except OSError:
        return False


def folders(folder: Path) -> Iterator[Path]:
    """Yield the folders in a folder; none if it is missing or can't be read."""
    try:
        with os.scandir(folder) as entries:
            yield from [Path(entry.path) for entry in entries if entry.is_dir()]
    except OSError:
        return


def protected_in(folder: Path) -> Iterator[Path]:
    """Yield the Delta tables below a folder."""
    for place, names, _ in os.walk(folder):
        if LOG in names:
            yield Path(place)
