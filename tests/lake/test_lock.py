"""Lock: other users can't take it, a waiting process names the holder, and no wait lasts for ever."""

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest
import structlog

from ingest.budget import Budget
from ingest.shared_file import lock_of
from lake.errors import LakeError
from lake.ledgers.status import read_status
from lake.lock import holders, locked, locked_lake, one_builder
from lake.paths import LOCKS, Lake
from lake.processes import command, this_process
from lake.query.catalogue import write_catalogue
from tests.support.release_history import publish_ids

OTHER_USER = 65534
HOLDER = """
import os, signal, sys
from lake.lock import locked_lake
from lake.paths import Lake
with locked_lake(Lake(root=sys.argv[1]), "build"):
    print("locked", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def impatient(lake: Lake) -> Lake:
    """Return the lake for a process that does not wait long."""
    return msgspec.structs.replace(lake, lock_seconds=0.01)


def mode(path: Path) -> int:
    """Return the permissions of a file or folder."""
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def stopped_holder(lake: Lake) -> Iterator["subprocess.Popen[str]"]:
    """Run a process that takes the lock of the builds, and is then stopped; kill it at the end."""
    program = [sys.executable, "-c", HOLDER, lake.root]
    project = Path(__file__).parents[2]
    with subprocess.Popen(program, cwd=project, text=True, stdout=subprocess.PIPE) as child:
        assert child.stdout
        assert child.stdout.readline() == "locked\n"
        os.waitid(os.P_PID, child.pid, os.WSTOPPED)
        yield child
        child.kill()


@contextmanager
def reading_user(folder: Path) -> Iterator[None]:
    """Become a user who can only read the folder."""
    folder.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(OTHER_USER)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o755)


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_a_lock_is_a_file_that_no_other_user_can_open(lake: Lake, umask: int) -> None:
    """The lock's folder and file are for their owner alone, whatever the umask and the lake's rights."""
    lake = msgspec.structs.replace(lake, mode=0o750)
    before = os.umask(umask)
    try:
        write_catalogue(lake, publish_ids(lake, 1))
    finally:
        os.umask(before)
    assert lake.locks
    assert mode(lake.locks) == 0o700
    assert {file.name: mode(file) for file in lake.locks.iterdir()} == {"catalogue": 0o600}
    assert (lake.locks / "catalogue").read_bytes() == b""


def test_locks_on_folders_stop_nothing(lake: Lake) -> None:
    """A user who can list a folder can lock it; no command looks at such a lock."""
    publish_ids(lake, 1)
    budget = Path(lake.place).parent / "budget"
    budget.mkdir()
    Budget(budget / "file", requests=1).close()
    folders = [path for path in Path(lake.place).parent.rglob("*") if path.is_dir() and path.name != LOCKS]
    (Path(lake.place) / "bronze").mkdir()
    with ExitStack() as open_folders, structlog.testing.capture_logs() as events:
        for folder in [Path(lake.place) / "bronze", *folders]:
            handle = os.open(folder, os.O_RDONLY)
            open_folders.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with one_builder(impatient(lake)):
            write_catalogue(impatient(lake), publish_ids(lake, 1, 2))
        assert Budget(budget / "file", requests=1).take() == 0
    assert not [event for event in events if event["event"].startswith("lake.")]


def test_a_waiting_process_names_the_holder_and_gives_up(lake: Lake) -> None:
    """The log states whom it waits for and until when; the error names the process and the next step."""
    publish_ids(lake, 1)
    here = this_process()
    with (
        locked_lake(lake, "build"),
        structlog.testing.capture_logs() as events,
        pytest.raises(LakeError) as refused,
        locked_lake(impatient(lake), "build"),
    ):
        pytest.fail("two processes have the lock")
    assert f"process {here.pid} on {here.host}" in str(refused.value)
    assert f"`kill {here.pid}`" in str(refused.value)
    assert "raise [lake] lock_seconds" in str(refused.value)
    assert "\n" not in str(refused.value)
    [event] = [event for event in events if event["event"] == "lake.waits"]
    assert f"process {here.pid} " in event["holder"]
    assert event["until"]
    with locked_lake(impatient(lake), "build"):
        pass


def test_a_stopped_process_is_named_and_a_killed_one_releases_its_lock(lake: Lake) -> None:
    """A process that is stopped keeps its lock: status and error say so. Killed, it blocks no one."""
    publish_ids(lake, 1)
    with stopped_holder(lake) as child:
        step = rf"stopped; `kill -CONT {child.pid}` lets it go on"
        with pytest.raises(LakeError, match=step), locked_lake(impatient(lake), "build"):
            pytest.fail("it was not locked")
        assert f"lock build: `-c` (process {child.pid} " in read_status(lake).headline
        assert read_status(lake).headline.endswith("which is stopped")
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert holders(lake) == {}
        with locked_lake(impatient(lake), "build"):
            assert list(holders(lake)) == ["build"]


def test_status_is_silent_without_a_lock(lake: Lake) -> None:
    """A lock that was released, and the text that a killed process left, name no holder."""
    write_catalogue(lake, publish_ids(lake, 1))
    assert lake.locks
    (lake.locks / "build").write_bytes(msgspec.json.encode(this_process()))
    (lake.locks / "other").write_text("{half")
    assert "lock " not in read_status(lake).headline


@pytest.mark.parametrize("reason", [errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_reported(lake: Lake, monkeypatch: pytest.MonkeyPatch, reason: int) -> None:
    """Some network disks have no locks; the work goes on with a warning."""

    def refused(*_: int) -> None:
        raise OSError(reason, os.strerror(reason))

    publish_ids(lake, 1)
    monkeypatch.setattr("lake.lock.fcntl.flock", refused)
    with structlog.testing.capture_logs() as events, locked_lake(impatient(lake), "build"):
        pass
    assert [event["event"] for event in events] == ["lake.locks_unsupported"]


def test_a_lake_that_can_only_be_read_is_not_locked() -> None:
    """A comparison in a read-only lake, or by a member of the group, needs no lock; nothing is written."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        lake = Lake(root=f"{name}/lake", mode=0o755)
        lake.create()
        (Path(lake.place) / "bronze").mkdir(mode=0o755)
        with reading_user(Path(lake.place)), one_builder(impatient(lake)):
            assert not (Path(lake.place) / LOCKS).exists()
            assert holders(lake) == {}


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_what_is_prepared_in_place_of_a_lock_is_refused(tmp_path: Path, kind: str) -> None:
    """A link is not followed: its target could be any file of this user."""
    target, lock = tmp_path / "target", tmp_path / "lock"
    target.write_text("content")
    lock.symlink_to(target) if kind == "link" else lock.mkdir()
    with pytest.raises(OSError, match=r"symbolic links|directory"), locked(lock, seconds=1):
        pytest.fail("it was locked")
    assert target.read_text() == "content"


def test_a_busy_budget_names_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is stopped in the middle of a transaction is named by the one that waited for it."""
    monkeypatch.setattr("ingest.shared_file.BUSY_SECONDS", 0.01)
    file = tmp_path / "budget.sqlite"
    waiting = Budget(file, requests=1)
    with locked(lock_of(file), seconds=1), pytest.raises(LakeError, match=rf"process {os.getpid()} on "):
        Budget(file, requests=1)

    def busy(_: object) -> None:
        with pytest.raises(LakeError, match=rf"locked for 0.01 s by process {os.getpid()}; end it"):
            waiting.take()

    waiting._file.run(busy)
    assert waiting.take() == 0


def test_a_command_is_named_without_its_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options and values may be private, so only the first word follows the program."""
    monkeypatch.setattr(sys, "argv", ["/opt/keylake/transform/__main__.py", "resync", "--because", "x"])
    assert command() == "transform resync"
    monkeypatch.setattr(sys, "argv", ["/usr/bin/keylake", "--key=secret"])
    assert command() == "keylake"


def test_a_holder_that_does_not_name_itself_is_found_in_the_kernel(tmp_path: Path) -> None:
    """A lock that another program took is refused with the program's process id, and the file."""
    file = tmp_path / "lock"
    with open(file, "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(LakeError) as refused, locked(file, seconds=0.1):
            pass
    assert str(refused.value).startswith(f"{file} has been locked for 0.1 s by process {os.getpid()}, which")
