"""Spill folder: where DuckDB puts what does not fit into memory, private to this user and this process.

A spill holds rows in clear text, buyers' phone numbers among them. So each process creates a folder
with an unpredictable name that only its user can enter, and never uses an existing one. A process
that is killed leaves its folder behind, and the next one deletes it: a process locks its folder
while it runs, which shows the others that it is in use.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

import structlog

from lake.errors import ConfigError, is_disk_full
from lake.settings import LakeSettings

log = structlog.get_logger()
# DuckDB's setting for a session that can't spill.
NO_SPILL = ""
# Attempts to create a folder while other processes delete old ones.
TRIES = 10
# The folder by process and setting: a forked process gets one of its own.
FOLDERS: dict[tuple[int, str], Path] = {}


def spill_folder(settings: LakeSettings) -> str:
    """Return this process's spill folder; empty if none can be created, and queries then can't spill.

    Raises ConfigError if the folder of the setting ``spill`` can't be written to.
    """
    process = (os.getpid(), settings.spill)
    folder = FOLDERS.get(process)
    if folder is None or not folder.is_dir():
        base = Path(settings.spill or tempfile.gettempdir())
        try:
            folder = FOLDERS[process] = create_folder(base)
        except OSError as error:
            # A full disk, or a read-only one, is no wrong setting: many queries need no spill.
            if settings.spill and not is_disk_full(error):
                raise ConfigError(
                    f"[lake] spill: {base} can't be written: {error.strerror};"
                    " name a folder on a disk with free space"
                ) from None
            log.warning("lake.no_spill_folder", folder=str(base), reason=error.strerror)
            return NO_SPILL
    return str(folder)


def create_folder(base: Path) -> Path:
    """Return a new, locked folder in ``base``, after deleting those of this user's ended processes."""
    base.mkdir(exist_ok=True)
    sweep(base)
    for _ in range(TRIES):
        folder = Path(tempfile.mkdtemp(prefix=prefix(), dir=base))
        # Another process may sweep the folder before it is locked; then this one starts again.
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            # The handle, and with it the lock, lasts until the process ends.
            handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            lock(handle)
            if folder.is_dir():
                return folder
    raise FileNotFoundError(f"{base}: other processes deleted each new folder")


def remove_folder() -> None:
    """Delete the folders of this process if they are empty, as they are after an ordinary end."""
    for (process, _), folder in FOLDERS.items():
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
                if os.fstat(handle).st_uid == os.getuid() and lock(handle):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)


def lock(handle: int) -> bool:
    """Lock a folder; False on a disk without locks. Raises BlockingIOError if it is locked already."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True
