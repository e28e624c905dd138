"""Durability: a commit on a local disk survives a power cut, or it is as if it was never made.

Files are synced before the commit that names them, and a commit before anything that depends on
it: lines before their order, bronze before the receipt of its run, silver and gold before their
release. A log entry that is synced is *sealed*: it is read-only. ``lake.delta.log_check`` decides
by the seal, and by the time of its last change, what a torn entry means.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import structlog

from lake.delta.checksum_file import checksum_file, write_checksum
from lake.delta.log_files import CHECKPOINT, HINT, LOG, list_log

log = structlog.get_logger()

WRITE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
# Errors of a process that may only read.
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


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
