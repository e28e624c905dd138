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
from tests.support.forked_commands import run_forked
from tests.support.running import environ_of
from tests.support.shop_edits import edit
from tests.torture.power import SHOP, Figures, figures, figures_of, quiet

PROJECT = Path(__file__).parents[2]
SIZE = 64 * 1024 * 1024
# Seconds after which a command counts as hung.
SECONDS = 120
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

    def __init__(self, disk: Path, shop: ThreadedShop, *, chain: int) -> None:
        self._disk, self._shop, self._chain = disk, shop, chain
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
        failures: list[str] = []
        for number, (name, command) in enumerate(STEPS.items()):
            own = count * (number + 1) // len(STEPS) - count * number // len(STEPS)
            if name == CHANGED:
                orders = self._shop.call(lambda shop: shop.world.truth()).orders
                edit(self._shop, *(edits.SetStatus(order.id, 19, bump=True) for order in orders[::5]))
            for failure in self._step(command, own, dice):
                failures.append(f"{name}, {failure}")
                print(failures[-1], flush=True)
        print(
            json.dumps({"faults": sum(self.results.values()), "ended": self.results, "wrong": len(failures)})
        )
        return failures

    def _step(self, command: Sequence[str], count: int, dice: random.Random) -> Iterator[str]:
        """Run a step with so many faults, and yield what went wrong; the lake is as after the step then.

        So many faults as a chain is long meet the lake one after another, then the step has to converge.
        """
        with tempfile.TemporaryDirectory() as folder:
            before, after = Path(folder) / "before", Path(folder) / "after"
            self._keep(before)
            used = self._used()
            self._command(command)
            needed = self._used() - used
            self.published |= figures(self._lake)
            final = self._shown()
            self._keep(after)
            faults = list(self._faults(count, needed, dice))
            dice.shuffle(faults)
            for start in range(0, count, self._chain):
                self._put(before)
                chain = faults[start : start + self._chain]
                reasons = [reason for fault in chain if (reason := self._try(command, fault))]
                if reason := self._converge(command, final):
                    reasons.append(f"{', '.join(map(str, chain))}: {reason}")
                yield from reasons
            self._put(after)

    def _faults(self, count: int, needed: int, dice: random.Random) -> Iterator[Fault]:
        """Yield faults: half of them by space, from none to more than the step needs, half of them by EIO."""
        pages, full = needed // PAGE + 8, (count + 1) // 2
        for number in range(full):
            yield Fault(spare=int((number + dice.random()) * pages / full) * PAGE)
        for _ in range(count - full):
            calls = dice.choice(list(FAILING))
            yield Fault(calls=calls, nth=dice.randint(1, FAILING[calls]))

    def _try(self, command: Sequence[str], fault: Fault) -> str | None:
        """Run a command with a fault; return what is wrong, or None."""
        done = self._disturbed(command, fault)
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        self.results[f"exit {done.returncode}"] += 1
        if "Traceback" in done.stderr or "panicked" in done.stderr or done.returncode not in (0, 1, 4):
            return f"{fault}: exit {done.returncode}: {done.stderr[-600:]}"
        if done.returncode == 1 and len(errors) != 1:
            return f"{fault}: {len(errors)} lines: {done.stderr[-600:]}"
        if reason := self._wrong():
            return f"{fault}: after {errors}: {reason}"
        return None

    def _converge(self, command: Sequence[str], final: Figures | None) -> str | None:
        """Run a command without a fault; return what is wrong, or None."""
        done = self._command(command)
        if done.returncode:
            return f"again: exit {done.returncode}: {done.stderr[-600:]}"
        return None if (shown := self._shown()) == final else f"again: shows {shown}, not {final}"

    def _disturbed(self, command: Sequence[str], fault: Fault) -> "subprocess.CompletedProcess[str]":
        if fault.spare is None:
            inject = f"inject={fault.calls}:error=EIO:when={fault.nth}"
            quick = ["strace", "-f", "--seccomp-bpf", "-o", "/dev/null"]
            return self._command(command, *quick, "-e", f"trace={fault.calls}", "-e", inject)
        ballast = self._disk / "ballast"
        free = os.statvfs(self._disk)
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(free.f_bavail * free.f_frsize - fault.spare, 1))
        try:
            return self._command(command)
        finally:
            ballast.unlink()

    def _command(self, command: Sequence[str], *trace: str) -> "subprocess.CompletedProcess[str]":
        if not trace:
            return run_forked(self._environ, *command, seconds=SECONDS)
        return subprocess.run(
            [*trace, sys.executable, "-m", *command],
            env=self._environ,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=SECONDS,
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


def run(count: int, seed: int, *, chain: int = 1) -> list[str]:
    """Judge ``count`` faults and return what went wrong; after a ``chain`` of them a command has none."""
    done = in_namespace(count, seed, chain, capture_output=True)
    lines = done.stdout.splitlines()
    failures = [line for line in lines if not line.startswith('{"faults"')]
    is_finished = len(lines) > len(failures) and done.returncode in (0, 1)
    return failures if is_finished else [*failures, f"exit {done.returncode}: {done.stderr[-2000:]}"]


def in_namespace(
    count: int, seed: int, chain: int, *, capture_output: bool = False
) -> "subprocess.CompletedProcess[str]":
    """Run the campaign in a mount namespace with a disk of its own."""
    with tempfile.TemporaryDirectory() as folder:
        as_root = [] if os.getuid() == 0 else ["--map-root-user"]
        script = f'mount -t tmpfs -o size={SIZE} tmpfs "$0" && exec "$@"'
        own = [sys.executable, "-m", "tests.torture.disk", *map(str, (count, seed, chain)), folder]
        return subprocess.run(
            ["unshare", "--mount", *as_root, "bash", "-c", script, folder, *own],
            cwd=PROJECT,
            text=True,
            capture_output=capture_output,
            check=False,
        )


def main(arguments: Sequence[str]) -> int:
    """Run the campaign; the first call starts it again in a mount namespace with a disk of its own."""
    count, seed, chain, *disk = [*arguments, *["300", "1", "1"][len(arguments) :]]
    quiet()
    if not disk:
        return in_namespace(int(count), int(seed), int(chain)).returncode
    with serving(SHOP) as shop:
        campaign = Campaign(Path(disk[0]), shop, chain=int(chain))
        return 1 if campaign.run(int(count), random.Random(int(seed))) else 0


if __name__ == "__main__":
    end(main(sys.argv[1:]))
