"""Full disk: maintenance frees what it can, loses nothing, and finishes its work once there is space.

The lake is on a small file system of its own, in a mount namespace of the test's process.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lake.maintenance.compaction import MANY, compact
from lake.maintenance.vacuum import maintain, vacuum
from lake.paths import Lake
from lake.settings import LakeSettings
from tests.support.simulated_lake import Simulated, at, newest, read_release

PROJECT = Path(__file__).parents[3]
SIZE = 48 * 1024 * 1024
SETTINGS = LakeSettings(keep_days=1, keep_all_hours=1)


def scenario(name: str, prepared: str, now: str, place: str) -> None:
    """Run a scenario on a copy of a lake whose disk is full; called in a process of its own."""
    simulated = Simulated(Lake(root=prepared), now=datetime.fromisoformat(now)).copy(f"{place}/lake")
    SCENARIOS[name](simulated, Path(place) / "ballast")


def fill(ballast: Path, *, spare: int = 0) -> None:
    """Take all space of the disk but ``spare`` bytes."""
    free = os.statvfs(ballast.parent)
    size = free.f_bavail * free.f_frsize - spare
    with open(ballast, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def vacuum_heals(simulated: Simulated, ballast: Path) -> None:
    """Files that no release needs any more make room for the compaction in the same maintenance."""
    simulated.passes(timedelta(days=3))
    reclaimable = sum(table.bytes for table in vacuum(simulated.lake, SETTINGS, now=simulated.now))
    assert reclaimable > 200_000, reclaimable
    rows = read_release(simulated.lake, newest(simulated.lake))
    fill(ballast)
    with capture_logs() as logs:
        assert maintain(simulated.lake, SETTINGS, now=simulated.now)
    events = [line["event"] for line in logs]
    assert "maintenance.compacted" in events
    assert "maintenance.disk_full" not in events
    assert read_release(simulated.lake, newest(simulated.lake)) == rows


def nothing_to_free(simulated: Simulated, ballast: Path) -> None:
    """Without anything to delete, maintenance reports each table and succeeds; later it compacts."""
    before = newest(simulated.lake)
    rows = read_release(simulated.lake, before)
    for spare in (0, 4096, 65536):
        fill(ballast, spare=spare)
        with capture_logs() as logs:
            maintain(simulated.lake, LakeSettings(), now=simulated.now)
        skipped = {line["name"] for line in logs if line["event"] == "maintenance.disk_full"}
        assert skipped, logs
        assert read_release(simulated.lake, before) == rows
        ballast.unlink()
    assert compact(simulated.lake, now=simulated.now)
    assert read_release(simulated.lake, newest(simulated.lake)) == rows
    simulated.sync()


def any_spare_space(simulated: Simulated, ballast: Path) -> None:
    """Whichever write of a maintenance is the first without space, retained releases read the same."""
    before = newest(simulated.lake)
    rows = read_release(simulated.lake, before)
    for spare in range(0, 400_000, 20_000):
        fill(ballast, spare=spare)
        maintain(simulated.lake, LakeSettings(), now=simulated.now)
        ballast.unlink()
        assert read_release(simulated.lake, before) == rows
        assert read_release(simulated.lake, newest(simulated.lake)) == rows
    compact(simulated.lake, now=simulated.now)
    assert compact(simulated.lake, now=simulated.now) == []
    assert read_release(simulated.lake, newest(simulated.lake)) == rows


SCENARIOS: dict[str, Callable[[Simulated, Path], None]] = {
    "vacuum_heals": vacuum_heals,
    "nothing_to_free": nothing_to_free,
    "any_spare_space": any_spare_space,
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """A lake with more small files than maintenance leaves, which no test changes."""
    simulated = Simulated(Lake(root=str(tmp_path_factory.mktemp("prepared") / "lake")), now=at(0))
    simulated.start()
    for _ in range(MANY + 8):
        simulated.sync()
        simulated.passes(timedelta(minutes=5))
    return simulated


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_maintenance_survives_a_full_disk(name: str, prepared: Simulated, tmp_path: Path) -> None:
    """On a full disk maintenance deletes first, skips what it can't write, and loses nothing."""
    disk = tmp_path / "disk"
    disk.mkdir()
    call = (name, prepared.lake.root, prepared.now.isoformat(), str(disk))
    run = f"from {__name__} import scenario; scenario{call!r}"
    script = f'mount -t tmpfs -o size={SIZE} tmpfs "$DISK" && exec "$PYTHON" -c "$RUN"'
    as_root = [] if os.getuid() == 0 else ["--map-root-user"]
    done = subprocess.run(
        ["unshare", "--mount", *as_root, "bash", "-c", script],
        env={
            **os.environ,
            "DISK": str(disk),
            "PYTHON": sys.executable,
            "RUN": run,
            "PYTHONPATH": str(PROJECT),
        },
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    # An ordinary exit may abort in Arrow's threads after correct work; a failed assertion is in stderr.
    assert "Traceback" not in done.stderr, done.stderr[-4000:]
    assert done.returncode in (0, -6, 134), done.stderr[-4000:]
