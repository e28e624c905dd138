"""Lock: one process of this machine at a time publishes, writes the catalogue, or opens a shared file.

A lock is a file of its own that other users can't open, so they can't take it. Its content names the
process that has it. Another process waits for a limited time, and its log and error name the holder.
A process that dies releases its locks.
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import structlog

from lake.errors import LakeError
from lake.paths import OWNER_ONLY, Lake, can
from lake.processes import STOPPED, Process, state, this_process

log = structlog.get_logger()
# Permissions of a lock that belongs to one user.
PRIVATE = 0o600
# Seconds between two attempts to take a lock.
PAUSE = 0.05
# Seconds of a wait that are not logged: locks of short work are often taken for a moment.
UNLOGGED = 0.5
# Errors of a disk that has no locks, such as some network disks.
UNSUPPORTED = {errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL}
# Errors of a lake that this user can only read.
READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def one_builder(lake: Lake) -> Iterator[None]:
    """Lock silver and gold until their release is published; if another build has the lock, wait.

    If two builds committed concurrently, each could be first at one table, and neither could publish.
    Also, tables that are committed but not yet published look like the remains of a crash. The lock
    works for processes of one machine. In an object store, and on a disk without locks, concurrent
    builds are not kept apart: both may meet a commit conflict, and have to run again.

    Raises LakeError as ``locked`` does.
    """
    is_new = lake.is_local and not (Path(lake.place) / "bronze").exists()
    with nullcontext() if is_new else locked_lake(lake, "build"):
        yield


@contextmanager
def locked_lake(lake: Lake, name: str) -> Iterator[None]:
    """Lock one kind of work on a lake; a lake in an object store, or a read-only one, has no locks.

    Raises LakeError as ``locked`` does.
    """
    if lake.locks is None or not is_lockable(lake):
        yield
        return
    file = lake.locks / name
    with locked(file, seconds=lake.lock_seconds, setting="[lake] lock_seconds"):
        yield


@contextmanager
def locked(file: Path, *, seconds: float, setting: str = "") -> Iterator[None]:
    """Lock a file, which is created for this user alone; wait up to ``seconds`` if another process has it.

    On a disk without locks only a warning is logged. Raises LakeError if the time is over; the message
    names the process that has the lock, and ``setting``, which limits the time.
    """
    handle = open_lock(file)
    try:
        take_or_wait(handle, file, seconds=seconds, setting=setting)
        write_holder(handle)
        try:
            yield
        finally:
            with suppress(OSError):
                os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def is_lockable(lake: Lake) -> bool:
    """Create the folder of the locks if needed; return False if this user can only read the lake.

    Raises LakeError if another user owns the folder.
    """
    assert lake.locks
    try:
        lake.locks.mkdir(mode=OWNER_ONLY, exist_ok=True)
        owner = Path(lake.place).stat()
        if os.geteuid() == 0 and lake.locks.stat().st_uid != owner.st_uid:
            os.chown(lake.locks, owner.st_uid, owner.st_gid)
    except OSError as error:
        if error.errno in READ_ONLY:
            return False
        raise
    if not can(str(lake.locks), os.W_OK | os.X_OK):
        if can(lake.place, os.W_OK):
            raise LakeError(f"{lake.locks} belongs to another user; give it to the owner of {lake.place}")
        return False
    return True


def open_lock(file: Path) -> int:
    """Return a handle of a lock's file; create the file if it is missing.

    An existing file is opened without O_CREAT: Linux may refuse that for the file of another user in
    a folder that all users share.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    with suppress(FileNotFoundError):
        return os.open(file, flags)
    try:
        handle = os.open(file, flags | os.O_CREAT | os.O_EXCL, PRIVATE)
    except FileExistsError:
        return os.open(file, flags)
    os.fchmod(handle, PRIVATE)
    with suppress(OSError):
        owner = file.parent.stat()
        if os.geteuid() == 0:
            os.fchown(handle, owner.st_uid, owner.st_gid)
    return handle


def take_or_wait(handle: int, file: Path, *, seconds: float, setting: str = "") -> None:
    """Take a lock; log for which process it waits, and until when. Raises LakeError as ``locked`` does."""
    began, waits_for = time.monotonic(), ""
    while not take(handle, file):
        holder = read_holder(file)
        name = holder.text if holder else holders_of(file)
        waited = time.monotonic() - began
        if waited >= min(UNLOGGED, seconds / 2) and name != waits_for:
            waits_for = name
            until = datetime.now(UTC) + timedelta(seconds=seconds - waited)
            log.info("lake.waits", lock=str(file), holder=name, until=until.isoformat(timespec="seconds"))
        if waited >= seconds:
            raise LakeError(refusal(file, holder, seconds=seconds, setting=setting))
        time.sleep(PAUSE)


def take(handle: int, file: Path) -> bool:
    """Return True if the lock is taken, or can't be: the disk has none. Raises OSError for other errors."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        log.warning("lake.locks_unsupported", lock=str(file), reason=str(error))
    return True


def refusal(file: Path, holder: Process | None, *, seconds: float, setting: str) -> str:
    """Return the message that a lock could not be taken in time."""
    step = f"; or raise {setting}" if setting else ""
    if holder is None:
        problem = f"{file} has been locked for {seconds:g} s by {holders_of(file)}"
        return f"{problem}, which does not name itself; end it{step}"
    pid = holder.pid
    problem = f"{file} has been locked for {seconds:g} s by {holder.text}"
    if holder.is_stopped:
        return f"{problem}, which is stopped; `kill -CONT {pid}` lets it go on, `kill -9 {pid}` ends it{step}"
    return f"{problem}; wait for it, or end it with `kill {pid}` on that machine if it hangs{step}"


def write_holder(handle: int) -> None:
    """Write this process into a lock's file; without space on the disk the file stays empty."""
    with suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, msgspec.json.encode(this_process()), 0)


def read_holder(file: Path) -> Process | None:
    """Return the process that a lock's file names; None for none, or if this user can't read it."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Process)
    except (OSError, msgspec.DecodeError):
        return None


def holders(lake: Lake) -> dict[str, Process]:
    """Return ``{lock: process}`` of the locks of a lake that are taken and that this user can see."""
    named: dict[str, Process] = {}
    with suppress(OSError):
        for file in sorted(lake.locks.iterdir()) if lake.locks else []:
            holder = read_holder(file)
            if holder and is_taken(file):
                named[file.name] = holder
    return named


def holders_of(file: Path) -> str:
    """Return the processes that have any lock of a file, in words, as the kernel knows them: proc(5)."""
    try:
        lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        number = str(file.stat().st_ino)
    except OSError:
        return "another process"
    waiting, pid, inode = 1, -4, -3
    pids = {int(line[pid]) for line in lines if line[waiting] != "->" and line[inode].endswith(f":{number}")}
    names = [f"process {pid}{' (stopped)' if state(pid) in STOPPED else ''}" for pid in sorted(pids)]
    return " and ".join(names) or "another process"


def is_taken(file: Path) -> bool:
    """Return True if a process has the lock. A file that does not exist, or can't be opened, has no lock."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False
