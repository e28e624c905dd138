"""Writable: whether a person's SQL may write a file or folder: everywhere but in a lake or a Delta table.

DuckDB has no setting for this: ``allowed_directories`` limits reads too, and follows links. So a path is
resolved, and with it every link that DuckDB may follow while it writes: a folder's content, and the
files that it creates next to a file, such as a write-ahead log.
"""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from lake.errors import UsageError
from lake.paths import LAYERS

LOG = "_delta_log"
# The names of a process's own streams; DuckDB writes to them as to a file.
STREAMS = ("/dev/stdout", "/dev/stderr", "/dev/null")
FILE_URI = re.compile(r"^file:(//(localhost)?(?=/))?")


def writable(path: str, *, instead: str = "write to a folder outside") -> str:
    """Return the absolute path of a file or folder, its links resolved. Raises UsageError inside a lake.

    A folder that contains a lake is refused too, because COPY can replace the whole content of a
    folder; so is one with a link that leads out of it. ``instead`` is the next step.
    """
    if path in STREAMS:
        return path
    real = Path(readable(path))
    for place in (real, *companions(real)):
        refuse_protected(place, path, instead)
    if real.is_dir():
        refuse_content(real, path, instead)
    return str(real)


def readable(path: str) -> str:
    """Return the absolute path of a file of this machine, its links resolved. Raises UsageError for a URL."""
    plain = FILE_URI.sub("", path, count=1)
    if "://" in plain or "\0" in plain or not plain:
        raise UsageError(f"{path!r} is no file of this machine; use one, and copy it with another program")
    return os.path.realpath(os.path.expanduser(plain) if plain.startswith("~/") else plain)


def companions(file: Path) -> Iterator[Path]:
    """Yield the files that DuckDB may write for a file: ``tmp_x.csv`` of a COPY, ``x.db.wal`` of a database.

    Every existing file whose name contains the name counts. Raises UsageError if they can't be listed.
    """
    try:
        with os.scandir(file.parent) as entries:
            yield from [Path(entry.path) for entry in entries if file.name in entry.name]
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        refuse_unlisted(file.parent, error)


def refuse_protected(place: Path, path: str, instead: str) -> None:
    """Raise UsageError if a file or folder is inside a lake, or is a file that may be in one as well."""
    real = Path(os.path.realpath(place))
    if around := next((folder for folder in (real, *real.parents) if is_protected(folder)), None):
        by = "" if place == real else f", through the link {place},"
        raise UsageError(f"{path!r} is{by} inside {around}, which only commits of keylake change; {instead}")
    refuse_hard_link(real, path)


def refuse_content(folder: Path, path: str, instead: str) -> None:
    """Raise UsageError if a Delta table is below a folder, or a link that leads out of the folder."""
    for name, folders, files in os.walk(folder, onerror=lambda error: refuse_unlisted(folder, error)):
        place = Path(name)
        if LOG in (*folders, *files):
            raise UsageError(f"{path!r} contains {place}, which only commits of keylake change; {instead}")
        for entry in (place / entry for entry in (*folders, *files)):
            if entry.is_symlink() and not Path(os.path.realpath(entry)).is_relative_to(folder):
                raise UsageError(
                    f"{path!r} contains the link {entry}, which leads out of it, perhaps into a lake;"
                    " remove the link, or write to a new folder"
                )
            refuse_hard_link(entry, path)


def refuse_unlisted(folder: Path, error: OSError) -> NoReturn:
    """Raise UsageError because links in a folder could not be found."""
    place = error.filename or folder
    raise UsageError(
        f"{place}: its content can't be listed ({error.strerror}), and it may contain a link into a lake;"
        " write to another folder"
    )


def refuse_hard_link(file: Path, path: str) -> None:
    """Raise UsageError if a file has more than one name."""
    try:
        status = file.lstat()
    except OSError:
        return
    if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
        name = "it" if str(file) == path else str(file)
        raise UsageError(
            f"{path!r}: {name} has a second name, a hard link, which may be in a lake; write to a new place"
        )


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
