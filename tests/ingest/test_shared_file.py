"""The budget's file: all users who may write to its folder share it, and a corrupt one is reset."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ingest.budget import MARGIN, Budget, budget_file
from lake.errors import LakeError

OTHER_USER = 65534
# A group that shares a key.
GROUP = 60_001
PLACES = 3


def budget(file: Path, *, now: float = 1000.0) -> Budget:
    """Open a budget of three requests a minute at a moment."""
    return Budget(file, requests=PLACES, clock=lambda: now)


def corrupt(file: Path, how: str) -> None:
    """Damage a budget's file."""
    if how == "garbage":
        file.write_bytes(b"this is no database\n" * 1000)
    elif how == "half":
        os.truncate(file, file.stat().st_size // 2)
    elif how == "head":
        with open(file, "r+b") as handle:
            handle.write(bytes(100))
    elif how == "middle":
        with open(file, "r+b") as handle:
            handle.seek(4096)
            handle.write(os.urandom(3 * 4096))
    elif how == "empty":
        os.truncate(file, 0)
    elif how == "gone":
        file.unlink()


DAMAGES = ["garbage", "half", "head", "middle", "empty"]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_corrupt_file_is_reset(tmp_path: Path, how: str) -> None:
    """Earlier requests are unknown, so all runs wait until none of them could count; then they go on."""
    file = tmp_path / "budget.sqlite"
    assert budget(file).take() == 0
    corrupt(file, how)
    assert budget(file).take() == pytest.approx(60 + MARGIN)
    assert budget(file, now=1061).take() == 0


@pytest.mark.parametrize("how", [*DAMAGES, "gone"])
def test_a_file_corrupted_while_open_is_reset_once(tmp_path: Path, how: str) -> None:
    """If two runs have it open, they share one budget before and after."""
    file = tmp_path / "budget.sqlite"
    now = 1000.0
    runs = [Budget(file, requests=PLACES, clock=lambda: now) for _ in range(2)]
    assert [run.take() for run in runs] == [0, 0]
    corrupt(file, how)
    assert [run.take() > 50 for run in runs] == [True, True]
    now = 1062.0
    assert [runs[number % 2].take() == 0 for number in range(5)] == [True, True, True, False, False]


TAKER = """
import sys, time
from pathlib import Path
from ingest.budget import Budget
budget = Budget(Path(sys.argv[1]), requests=10, per=0.5)
sent = []
while len(sent) < 10:
    wait = budget.take()
    if wait == 0:
        sent.append(time.monotonic())
    else:
        time.sleep(wait)
print("sent", *sent)
"""


def test_processes_that_find_a_corrupt_file_share_one_new_budget(tmp_path: Path) -> None:
    """Four concurrent processes go on, and together they keep the budget."""
    file = tmp_path / "budget.sqlite"
    corrupt(file, "garbage")
    command = [sys.executable, "-c", TAKER, str(file)]
    takers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    printed = [taker.communicate(timeout=300)[0].split("sent ")[1] for taker in takers]
    sent = sorted(float(stamp) for stamps in printed for stamp in stamps.split())
    assert len(sent) == 40
    assert max(sum(since <= at < since + 0.5 for at in sent) for since in sent) <= 10


def test_a_created_folder_is_for_one_user(tmp_path: Path) -> None:
    """Who shares the key can't be known, so sharing begins with a folder that a person gives to a group."""
    file = budget_file(str(tmp_path / "run" / "budget"), base_url="https://crm/v1", key="key")
    budget(file).take()
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("folder", "file"),
    [(0o700, 0o600), (0o755, 0o600), (0o2770, 0o660), (0o770, 0o660), (0o1777, 0o660), (0o707, 0o600)],
)
def test_a_file_has_the_rights_of_its_folder(tmp_path: Path, folder: int, file: int) -> None:
    """An existing folder keeps its rights, whatever the umask; an older file gets them too."""
    parent = tmp_path / "budget"
    parent.mkdir()
    parent.chmod(folder)
    path = budget_file(str(parent), base_url="https://crm/v1", key="key")
    for _ in range(2):
        budget(path).take()
        assert stat.S_IMODE(path.stat().st_mode) == file
        lock = path.with_name(f"{path.name}.lock")
        assert stat.S_IMODE(lock.stat().st_mode) == file
        # An older version let all users write to both.
        path.chmod(0o666)
        lock.chmod(0o666)
    assert stat.S_IMODE(parent.stat().st_mode) == folder


def test_without_a_folder_the_budget_is_this_users_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no folder is set, no other user can read or write the file."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    file = budget_file("", base_url="https://crm/v1", key="key")
    budget(file).take()
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


OTHER = """
import os, sys, time
from pathlib import Path
from ingest.budget import Budget, budget_file
from lake.errors import LakeError
os.umask(0o077)
os.setgid(int(sys.argv[2])), os.setgroups([int(group) for group in sys.argv[3:]]), os.setuid(int(sys.argv[2]))
try:
    budget = Budget(budget_file(sys.argv[1], base_url="https://crm/v1", key="key"), requests=3)
    print(*(budget.take() > 0 for _ in range(2)))
except LakeError as error:
    print(error)
"""


def as_another_user(folder: Path, user: int, *groups: int) -> str:
    """Take two places of three as this user; return if each had to be waited for, or the error."""
    return subprocess.run(
        [sys.executable, "-c", OTHER, str(folder), str(user), *map(str, groups)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_users_share_one_budget() -> None:
    """If a folder belongs to one user, another user gets an error with the next step."""
    with tempfile.TemporaryDirectory() as folder:  # pytest closes its own folders to other users
        Path(folder).chmod(0o755)
        share_one_budget(Path(folder))


def share_one_budget(parent: Path) -> None:
    """Let users of a group take places of one budget; a user outside the group can't even open it."""
    shared = parent / "shared"
    shared.mkdir()
    os.chown(shared, -1, GROUP)
    shared.chmod(0o2775)
    assert as_another_user(shared, OTHER_USER, GROUP) == "False False"
    assert as_another_user(shared, 0) == "False True"
    assert as_another_user(shared, OTHER_USER - 1, GROUP) == "True True"
    assert "the request budget can't be kept there" in as_another_user(shared, OTHER_USER - 2)
    open_to_all = parent / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o1777)
    assert as_another_user(open_to_all, OTHER_USER) == "False False"
    assert as_another_user(open_to_all, OTHER_USER) == "False True"
    assert {stat.S_IMODE(file.stat().st_mode) for file in open_to_all.iterdir()} == {0o600}
    assert "chgrp GROUP" in as_another_user(open_to_all, OTHER_USER - 1)
    own = parent / "own"
    own.mkdir(0o755)
    assert as_another_user(own, 0) == "False False"
    error = as_another_user(own, OTHER_USER)
    assert "the request budget can't be kept there" in error
    assert "source.budget_folder" in error


def test_a_link_or_a_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    """The target of a link might be a file that must not be truncated."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "link").symlink_to(victim)
    (tmp_path / "folder").mkdir()
    for name in ("link", "folder"):
        with pytest.raises(LakeError, match="is no file"):
            budget(tmp_path / name)
    with pytest.raises(LakeError, match="is no folder"):
        budget_file(str(victim), base_url="https://crm/v1", key="key")
    with pytest.raises(LakeError, match="the folder can't be created"):
        budget_file(str(victim / "below" / "it"), base_url="https://crm/v1", key="key")
    assert victim.read_text() == "precious"
