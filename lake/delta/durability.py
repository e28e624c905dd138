"""Durability: a commit on a local disk survives a power cut, or it is as if it was never made.

Files are synced before the commit that names them, and a commit before anything that depends on
it: lines before their order, bronze before the receipt of its run, silver and gold before their
release. A log entry that is synced is *sealed*: it is read-only. ``lake.delta.log_check`` decides
by the seal, and by the time of its last change, what a torn entry means.
"""

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import msgspec
import structlog

from lake.delta.checksum_file import checksum_file, write_checksum
from lake.delta.log_entry import added_paths

log = structlog.get_logger()

LOG = "_delta_log"
HINT = "_last_checkpoint"
ENTRY = re.compile(r"(\d{20})\.json")
CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\b.*\.parquet")
WRITE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
# Errors of a process that may only read.
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class LogFiles(msgspec.Struct, frozen=True):
    """The files of a table's log, by version; a checkpoint may have several files."""

    entries: dict[int, Path]
    checkpoints: dict[int, list[Path]]

    def base(self, version: int) -> int:
        """Return the newest checkpoint at or before a version; -1 if there is none."""
        return max((number for number in self.checkpoints if number <= version), default=-1)

    def gap(self, version: int) -> int | None:
        """Return the first missing one of the entries that a version is read from; None if none is."""
        numbers = range(self.base(version) + 1, version + 1)
        return next((number for number in numbers if number not in self.entries), None)

    def is_complete(self, version: int) -> bool:
        """Return True if the log has all that a version is read from."""
        return version >= 0 and self.gap(version) is None

    @property
    def head(self) -> int:
        """The newest version; -1 in an empty log."""
        return max([*self.entries, *self.checkpoints], default=-1)


def sync_files(place: str, paths: Iterable[str]) -> None:
    """Sync files of a table's folder, and the folders that name them."""
    files = [Path(place) / path for path in paths]
    for file in files:
        sync(file)
    for folder in {file.parent for file in files}:
        sync_folders(folder, top=Path(place))


def sync_table(place: str) -> None:
    """Sync the folders that name a new table: its own, and all above it on the disk, which may be new too."""
    folder = Path(place)
    disk = next(path for path in folders(folder, Path(folder.root)) if path.is_mount())
    sync_folders(folder, top=disk)


def seal(place: str, version: int, *, is_durable: bool) -> None:
    """Seal the log's files from the last sealed one up to a version; sync them first if ``is_durable``.

    That includes the commits of other writers, because the version depends on them. Before the first entry,
    the table's folders are synced, no matter which process created them.
    """
    files = list_log(place)
    new: list[Path] = []
    for number in range(version, -1, -1):
        own = [*filter(None, [files.entries.get(number)]), *files.checkpoints.get(number, [])]
        if not own or all(is_sealed(file) for file in own):
            break
        # An entry before its checkpoint: if only that one was on the disk, the entry would never be read.
        new = [*(file for file in own if not is_sealed(file)), *new]
    if is_durable and files.entries.get(0) in new:
        sync_table(place)
    for file in new:
        seal_file(file, is_durable=is_durable)
    if new and is_durable:
        with contextlib.suppress(FileNotFoundError):
            sync(Path(place) / LOG / HINT)
        sync(Path(place) / LOG)


def seal_file(file: Path, *, is_durable: bool) -> None:
    """Sync a file if ``is_durable``, then seal it; a reader without the permission leaves it as it is."""
    with contextlib.suppress(PermissionError, FileNotFoundError):
        if is_durable:
            sync(file)
        if CHECKPOINT.fullmatch(file.name):
            write_checksum(file)
            if is_durable:
                sync(checksum_file(file))
        file.chmod(stat.S_IMODE(file.stat().st_mode) & ~WRITE)
        if not is_sealed(file):
            warn_of_no_seal(str(file.parent))


@cache
def warn_of_no_seal(folder: str) -> None:
    """Log, once for each folder, that its disk keeps no permissions: a torn commit there needs a repair."""
    log.warning("lake.permissions_not_kept", folder=folder)


def write_sealed(file: Path, content: bytes, *, is_durable: bool) -> None:
    """Write a new log file, whole or not at all, and seal it."""
    half = file.with_name(f"{file.name}.tmp")
    half.write_bytes(content)
    if is_durable:
        sync(half)
    half.rename(file)
    seal_file(file, is_durable=is_durable)
    if is_durable:
        sync(file.parent)


def list_log(place: str) -> LogFiles:
    """Return the files of a table's log; none if it has no log."""
    files = LogFiles({}, {})
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for file in os.scandir(f"{place}/{LOG}"):
            if match := ENTRY.fullmatch(file.name):
                files.entries[int(match[1])] = Path(file.path)
            elif match := CHECKPOINT.fullmatch(file.name):
                files.checkpoints.setdefault(int(match[1]), []).append(Path(file.path))
    return files


def list_checkpoints(place: str) -> list[Path]:
    """Return the files of the checkpoints of a table's log."""
    return [file for own in list_log(place).checkpoints.values() for file in own]


def files_of_entries(place: str, versions: Iterable[int]) -> list[str]:
    """Return the paths of the data files that some log entries added; an entry that is deleted has none."""
    entries = list_log(place).entries
    contents = [entries[version].read_bytes() for version in versions if version in entries]
    return [f"{place}/{path}" for content in contents for path in added_paths(content)]


def is_sealed(file: Path) -> bool:
    """Return True if a file is sealed, or another process has deleted it."""
    try:
        return not file.stat().st_mode & WRITE
    except FileNotFoundError:
        return True


def sync(path: Path) -> None:
    """Let the disk write a file or folder before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folders(folder: Path, *, top: Path) -> None:
    """Sync a folder and those above it, up to and with ``top``."""
    for path in folders(folder, top):
        with contextlib.suppress(PermissionError):
            sync(path)


def folders(folder: Path, top: Path) -> Iterator[Path]:
    """Yield a folder and those above it, up to and with ``top``. Pure."""
    yield folder
    if folder != top:
        yield from folders(folder.parent, top)
