"""Spill folder: where DuckDB puts what does not fit into memory, private to this user and this process.

A spill holds rows in clear text, buyers' phone numbers among them. So each process creates a folder
with an unpredictable name that only its user can enter, and never uses an existing one. A process
that is killed leaves its folder behind, and the next one deletes it: a process locks its folder
while it runs, which shows the others that it is in use. Linux reaches the folder through the open handle,
not by its name: in a folder of another user, a name can be given to another folder at any time.
"""

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
from pathlib import Path

import structlog

from lake.errors import ConfigError, is_disk_full
from lake.paths import OTHERS
from lake.settings import LakeSettings

log = structlog.get_logger()
# DuckDB's setting for a session that can't spill.
NO_SPILL = ""
# Attempts to create a folder while other processes delete old ones.
TRIES = 10
# Links to the files and folders that this process has opened, whatever their names are now: proc(5).
HANDLES = Path("/proc/self/fd")
# The folder and its handle by process and setting: a forked process gets one of its own.
FOLDERS: dict[tuple[int, str], tuple[Path, int]] = {}


def spill_folder(settings: LakeSettings) -> str:
    """Return this process's spill folder; empty if none can be created, and queries then can't spill.

    Raises ConfigError if the folder of the setting ``spill`` can't be written to.
    """
    process = (os.getpid(), settings.spill)
    folder, handle = FOLDERS.get(process, (None, -1))
    if folder is None or not is_there(folder, handle):
        base = Path(settings.spill or tempfile.gettempdir())
        try:
            folder, handle = FOLDERS[process] = create_folder(base)
        except OSError as error:
            # A full disk, or a read-only one, is no wrong setting: many queries need no spill.
            if settings.spill and not is_disk_full(error):
                raise ConfigError(
                    f"[lake] spill: {base} can't be written: {error.strerror};"
                    " name a folder on a disk with free space"
                ) from None
            log.warning("lake.no_spill_folder", folder=str(base), reason=error.strerror)
            return NO_SPILL
    through = HANDLES / str(handle)
    return str(through if through.is_dir() else folder)


def create_folder(base: Path) -> tuple[Path, int]:
    """Return a new, locked folder in ``base`` and its handle.

    The folders of this user's ended processes are deleted first.
    """
    base.mkdir(exist_ok=True)
    sweep(base)
    for _ in range(TRIES):
        folder = Path(tempfile.mkdtemp(prefix=prefix(), dir=base))
        # Another process may sweep the folder before it is locked, or put another one in its place; then this
        # one starts again. A link is an OSError.
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, BlockingIOError):
            # The handle, and with it the lock, lasts until the process ends.
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            lock(handle)
            if is_private(handle) and is_there(folder, handle):
                return folder, handle
            os.close(handle)
    raise FileNotFoundError(errno.ENOENT, "other processes deleted or replaced each new folder", str(base))


def is_private(handle: int) -> bool:
    """Return True if only this user can enter an open folder."""
    status = os.fstat(handle)
    return status.st_uid == os.geteuid() and not stat.S_IMODE(status.st_mode) & OTHERS


def is_there(folder: Path, handle: int) -> bool:
    """Return True if an open folder still has its name."""
    try:
        return os.path.samestat(os.lstat(folder), os.fstat(handle))
    except OSError:
        return False


def remove_folder() -> None:
    """Delete the folders of this process if they are empty, as they are after an ordinary end."""
    for (process, _), (folder, _) in FOLDERS.items():
        if process == os.getpid():
            with contextlib.suppress(OSError):
                folder.rmdir()


def prefix() -> str:
    """Return the first part of the names of this user's spill folders."""
    return f"keylake-spill-{os.getuid()}-"


def sweep(base: Path) -> None:
    """Delete this user's spill folders in ``base`` that no running process has locked."""
    for folder in base.glob(f"{prefix()}*"):
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if is_private(handle) and lock(handle):
                    empty(handle)
                    folder.rmdir()
            finally:
                os.close(handle)


def empty(handle: int) -> None:
    """Delete everything in an open folder."""
    for _, folders, files, inner in os.fwalk(".", topdown=False, dir_fd=handle):
        for name in files:
            os.unlink(name, dir_fd=inner)
        for name in folders:
            os.rmdir(name, dir_fd=inner)


def lock(handle: int) -> bool:
    """Lock a folder; False on a disk without locks. Raises BlockingIOError if it is locked already."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True
