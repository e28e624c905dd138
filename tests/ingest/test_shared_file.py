"""The budget's file: whoever may write its folder shares it, and a broken one is begun anew."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ingest.budget import MARGIN, Budget, budget_file
from lake.errors import LakeError

NOBODY = 65534
PLACES = 3


def budget(file: Path, *, now: float = 1000.0) -> Budget:
    """Open a budget of three requests a minute at a moment."""
    return Budget(file, requests=PLACES, clock=lambda: now)


def spoil(file: Path, how: str) -> None:
    """Break a budget's file."""
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


WAYS = ["garbage", "half", "head", "middle", "empty"]


@pytest.mark.parametrize("how", WAYS)
def test_a_broken_file_is_begun_anew(tmp_path: Path, how: str) -> None:
    """What was sent before is not known, so all wait for as long as it could count; then all goes on."""
    file = tmp_path / "budget.sqlite"
    assert budget(file).take() == 0
    spoil(file, how)
    assert budget(file).take() == pytest.approx(60 + MARGIN)
    assert budget(file, now=1061).take() == 0


@pytest.mark.parametrize("how", [*WAYS, "gone"])
def test_a_file_that_breaks_while_it_is_open_is_begun_anew_by_one_for_all(tmp_path: Path, how: str) -> None:
    """Two runs hold it open: they share one budget before and after."""
    file = tmp_path / "budget.sqlite"
    now = 1000.0
    runs = [Budget(file, requests=PLACES, clock=lambda: now) for _ in range(2)]
    assert [run.take() for run in runs] == [0, 0]
    spoil(file, how)
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


def test_real_processes_that_meet_a_broken_file_begin_one_new_budget(tmp_path: Path) -> None:
    """Four at once: each goes on, and together they keep to it."""
    file = tmp_path / "budget.sqlite"
    spoil(file, "garbage")
    command = [sys.executable, "-c", TAKER, str(file)]
    takers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [taker.communicate(timeout=300)[0].split("sent ")[1] for taker in takers]
    sent = sorted(float(stamp) for stamps in said for stamp in stamps.split())
    assert len(sent) == 40
    assert max(sum(since <= at < since + 0.5 for at in sent) for since in sent) <= 10


def test_a_folder_that_is_made_for_the_budget_is_open_to_all_users(tmp_path: Path) -> None:
    """As /tmp is: everybody writes, nobody removes what is another's."""
    file = budget_file(str(tmp_path / "run" / "budget"), base_url="https://crm/v1", key="key")
    budget(file).take()
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o1777
    assert stat.S_IMODE(file.stat().st_mode) == 0o666


@pytest.mark.parametrize(
    ("folder", "file"), [(0o700, 0o600), (0o755, 0o600), (0o2770, 0o660), (0o1777, 0o666)]
)
def test_a_file_is_written_by_whom_its_folder_lets_write(tmp_path: Path, folder: int, file: int) -> None:
    """A folder that was there keeps its rights, the umask changes nothing; an older file gets them too."""
    place = tmp_path / "budget"
    place.mkdir()
    place.chmod(folder)
    found = budget_file(str(place), base_url="https://crm/v1", key="key")
    for _ in range(2):
        budget(found).take()
        assert stat.S_IMODE(found.stat().st_mode) == file
        found.chmod(0o644)
    assert stat.S_IMODE(place.stat().st_mode) == folder


def test_without_a_folder_the_budget_is_this_users_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else reads or writes it."""
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
os.setgid(int(sys.argv[2])), os.setgroups([]), os.setuid(int(sys.argv[2]))
try:
    budget = Budget(budget_file(sys.argv[1], base_url="https://crm/v1", key="key"), requests=3)
    print(*(budget.take() > 0 for _ in range(2)))
except LakeError as error:
    print(error)
"""


def as_another_user(folder: Path, user: int) -> str:
    """Take two places of three as this user; return whether each was to be waited for, or the error."""
    return subprocess.run(
        [sys.executable, "-c", OTHER, str(folder), str(user)], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_users_share_one_budget() -> None:
    """Whoever came first; where the folder is somebody's own, the other is told what to do."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to others, again and again
        Path(folder).chmod(0o755)
        share_one_budget(Path(folder))


def share_one_budget(place: Path) -> None:
    """Let several users take places of one budget below a place that all can enter."""
    shared = place / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    assert as_another_user(shared, NOBODY) == "False False"
    assert as_another_user(shared, 0) == "False True"
    assert as_another_user(shared, NOBODY - 1) == "True True"
    own = place / "own"
    own.mkdir(0o755)
    assert as_another_user(own, 0) == "False False"
    said = as_another_user(own, NOBODY)
    assert "the request budget can't be kept there" in said
    assert "source.budget_folder" in said


def test_what_is_no_file_is_refused_in_one_line(tmp_path: Path) -> None:
    """A link could lead to something that must not be emptied; a folder can't be written."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "link").symlink_to(victim)
    (tmp_path / "folder").mkdir()
    for name in ("link", "folder"):
        with pytest.raises(LakeError, match="is no file"):
            budget(tmp_path / name)
    with pytest.raises(LakeError, match="is no folder"):
        budget_file(str(victim), base_url="https://crm/v1", key="key")
    with pytest.raises(LakeError, match="no folder can be made"):
        budget_file(str(victim / "below" / "it"), base_url="https://crm/v1", key="key")
    assert victim.read_text() == "precious"
