"""Processes: which process this is, and whether another one of this machine still runs."""

import os
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec

# The kernel's letters for a process that a signal or a debugger has stopped.
STOPPED = ("T", "t")
# Types of file systems that no two machines share.
LOCAL_DISKS = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "bcachefs", "overlay", "tmpfs")


class Process(msgspec.Struct, frozen=True):
    """A process; ``started`` is its start time as the kernel writes it, because numbers are reused."""

    pid: int
    host: str
    started: str
    command: str
    since: datetime

    @property
    def text(self) -> str:
        """The process in words, for a message."""
        return (
            f"`{self.command}` (process {self.pid} on {self.host}, since {self.since:%Y-%m-%d %H:%M:%S} UTC)"
        )

    @property
    def is_stopped(self) -> bool:
        """True if it is a process of this machine that a signal or a debugger has stopped."""
        is_here = self.host == socket.gethostname() and started(self.pid) == self.started
        return is_here and state(self.pid) in STOPPED


def this_process() -> Process:
    """Return this process, with the time of this call."""
    return Process(
        pid=os.getpid(),
        host=socket.gethostname(),
        started=started(os.getpid()),
        command=command(),
        since=datetime.now(UTC).replace(microsecond=0),
    )


def command() -> str:
    """Return what this process runs, such as ``transform resync``, without options and values."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    word = next((word for word in sys.argv[1:2] if word.isalpha()), "")
    return f"{name} {word}".strip()


def started(pid: int) -> str:
    """Return a process's start time as the kernel writes it; empty if no such process runs here."""
    fields = stat_fields(pid)
    if fields is None:
        return "?" if is_running(pid) else ""
    return "" if fields[0] == "Z" else fields[19]


def state(pid: int) -> str:
    """Return the kernel's letter for the state of a process, such as T for stopped; empty if unknown."""
    fields = stat_fields(pid)
    return fields[0] if fields else ""


def stat_fields(pid: int) -> list[str] | None:
    """Return the kernel's fields about a process, from its state on; None if there are none: proc(5)."""
    try:
        # The name before them is in brackets, and may contain spaces.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields if len(fields) > 19 else None


def is_running(pid: int) -> bool:
    """Return True if a process of that number runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_on_local_disk(path: Path) -> bool:
    """Return True if a path is on a disk that only one machine can use, so that its locks are reliable."""
    try:
        device = path.stat().st_dev
        mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    except OSError:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    # The type of the file system follows the field "-": proc(5).
    return any(mount[2] == number and mount[mount.index("-") + 1] in LOCAL_DISKS for mount in mounts)
