"""Disk faults: a disk that is full, or fails, at any write of ingest, build, publish and maintenance.

The lake is on a small file system of its own. Each command runs with space for so many bytes more, or with
an error (EIO) at one of its system calls. It must end with one line; readers see the figures that were
published; and once the fault is over, the same command converges.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from ingest.sandbox import edits
from ingest.sandbox.command import ThreadedShop, serving
from lake.cli.main import end
from lake.delta import log_check
from lake.errors import LakeError
from lake.paths import Lake
from lake.releases.release import current_release
from tests.support.running import environ_of
from tests.support.shop_edits import edit
from tests.torture.power import SHOP, Figures, figures, figures_of, quiet

PROJECT = Path(__file__).parents[2]
SIZE = 64 * 1024 * 1024
PAGE = 4096
STEPS: dict[str, tuple[str, ...]] = {
    "full": ("ingest", "full"),
    "build": ("transform",),
    "incremental": ("ingest", "incremental"),
    "build_again": ("transform",),
    "maintain": ("lake", "maintain"),
}
# The step before which the shop changes orders.
CHANGED = "incremental"
# Calls that fail, and the greatest number of the call, in each thread, at which they do. A write of data
# fails on a full disk only: threads write to wake one another too, and would never end.
FAILING = {"fsync,fdatasync": 30, "rename,renameat,renameat2,link,linkat": 30, "mkdir,mkdirat": 16}


class Fault(msgspec.Struct, frozen=True):
    """A fault of the disk: bytes of space that are left, or the n-th of some calls in each thread fails."""

    spare: int | None = None
    calls: str = ""
    nth: int = 0

    def __str__(self) -> str:
        return f"{self.spare} bytes left" if self.spare is not None else f"EIO at {self.calls} {self.nth}"


class Campaign:
    """A lake on a small disk, the shop that it is filled from, and the figures of its releases."""

    def __init__(self, disk: Path, shop: ThreadedShop) -> None:
        self._disk, self._shop = disk, shop
        self._lake = Lake(root=str(disk / "lake"))
        spill = tempfile.mkdtemp(prefix="spill-")
        self._environ = environ_of(
            self._lake,
            shop.url,
            KEYLAKE_LAKE_DURABLE="true",
            KEYLAKE_LAKE_SPILL=spill,
            PYTHONDONTWRITEBYTECODE="1",
        )
        self.published: dict[int, Figures] = {}
        self.results: Counter[str] = Counter()

    def run(self, count: int, dice: random.Random) -> list[str]:
        """Run every step with about ``count`` faults in all; return what went wrong."""
        failures = []
        for name, command in STEPS.items():
            if name == CHANGED:
                orders = self._shop.call(lambda shop: shop.world.truth()).orders
                edit(self._shop, *(edits.SetStatus(order.id, 19, bump=True) for order in orders[::5]))
            with tempfile.TemporaryDirectory() as folder:
                before, after = Path(folder) / "before", Path(folder) / "after"
                self._keep(before)
                used = self._used()
                self._command(command)
                needed = self._used() - used
                self.published |= figures(self._lake)
                final = self._shown()
                self._keep(after)
                for fault in self._faults(count // len(STEPS), needed, dice):
                    self._put(before)
                    if reason := self._try(command, fault, final):
                        failures.append(f"{name}, {fault}: {reason}")
                        print(failures[-1], flush=True)
                self._put(after)
        print(
            json.dumps({"faults": sum(self.results.values()), "ended": self.results, "wrong": len(failures)})
        )
        return failures

    def _faults(self, count: int, needed: int, dice: random.Random) -> Iterator[Fault]:
        """Yield faults: half of them by space, from none to more than the step needs, half of them by EIO."""
        pages = needed // PAGE + 8
        for number in range(count // 2):
            yield Fault(spare=number * pages // (count // 2) * PAGE)
        for _ in range(count - count // 2):
            calls = dice.choice(list(FAILING))
            yield Fault(calls=calls, nth=dice.randint(1, FAILING[calls]))

    def _try(self, command: Sequence[str], fault: Fault, final: Figures | None) -> str | None:
        """Run a command with a fault, then without; return what is wrong, or None."""
        done = self._disturbed(command, fault)
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        self.results[f"exit {done.returncode}"] += 1
        if "Traceback" in done.stderr or "panicked" in done.stderr or done.returncode not in (0, 1, 4):
            return f"exit {done.returncode}: {done.stderr[-600:]}"
        if done.returncode == 1 and len(errors) != 1:
            return f"{len(errors)} lines: {done.stderr[-600:]}"
        if reason := self._wrong():
            return f"after {errors}: {reason}"
        again = self._command(command)
        if again.returncode:
            return f"again: exit {again.returncode}: {again.stderr[-600:]}"
        return None if self._shown() == final else f"again: shows {self._shown()}, not {final}"

    def _disturbed(self, command: Sequence[str], fault: Fault) -> "subprocess.CompletedProcess[str]":
        if fault.spare is None:
            inject = f"inject={fault.calls}:error=EIO:when={fault.nth}"
            trace = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={fault.calls}", "-e", inject]
            return self._command(command, *trace)
        ballast = self._disk / "ballast"
        free = os.statvfs(self._disk)
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(free.f_bavail * free.f_frsize - fault.spare, 1))
        try:
            return self._command(command)
        finally:
            ballast.unlink()

    def _command(self, command: Sequence[str], *trace: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*trace, sys.executable, "-m", *command],
            env=self._environ,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def _wrong(self) -> str | None:
        """Return what readers see that was not published so; None if nothing."""
        log_check.WHOLE.clear()
        try:
            release = current_release(self._lake)
            shown = figures_of(self._lake, release.release) if release else None
        except LakeError as error:
            return f"refused: {error}"
        if release is None or shown == self.published.get(release.release, shown):
            return None
        return f"release {release.release} shows {shown}"

    def _shown(self) -> Figures | None:
        log_check.WHOLE.clear()
        return figures_of(self._lake) if current_release(self._lake) else None

    def _used(self) -> int:
        status = os.statvfs(self._disk)
        return (status.f_blocks - status.f_bfree) * status.f_frsize

    def _keep(self, place: Path) -> None:
        """Copy the lake out of the disk, if there is one."""
        if Path(self._lake.root).exists():
            shutil.copytree(self._lake.root, place)

    def _put(self, place: Path) -> None:
        """Put a copied lake back on the disk, or none."""
        shutil.rmtree(self._lake.root, ignore_errors=True)
        if place.exists():
            shutil.copytree(place, self._lake.root)


def main(arguments: Sequence[str]) -> int:
    """Run the campaign; the first call starts it again in a mount namespace with a disk of its own."""
    count, seed, *disk = [*arguments, *["300", "1"][len(arguments) :]]
    quiet()
    if disk:
        with serving(SHOP) as shop:
            return 1 if Campaign(Path(disk[0]), shop).run(int(count), random.Random(int(seed))) else 0
    with tempfile.TemporaryDirectory() as folder:
        as_root = [] if os.getuid() == 0 else ["--map-root-user"]
        script = f'mount -t tmpfs -o size={SIZE} tmpfs "$0" && exec "$@"'
        own = [sys.executable, "-m", "tests.torture.disk", count, seed, folder]
        return subprocess.run(
            ["unshare", "--mount", *as_root, "bash", "-c", script, folder, *own], check=False
        ).returncode


if __name__ == "__main__":
    end(main(sys.argv[1:]))
