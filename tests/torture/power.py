"""Power cuts: after a cut at any moment, no wrong figure is shown, and the next commands converge.

A process ingests, builds, compacts, backs up and restores while its changes of files are recorded.
For a prefix of the changes, a state of the disk is made in which all that was not synced is lost,
empty, torn or zeros. On that state the figures of the open release are compared with those it was
published with, then the commands run once more and are compared with the undisturbed run.
"""

import json
import logging
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import duckdb
import msgspec
import structlog

from ingest.sandbox import edits
from ingest.sandbox.command import ThreadedShop, serving
from ingest.sandbox.settings import Sandbox
from lake.backup.backup import MANIFEST, back_up, restore
from lake.cli.main import end
from lake.delta import log_check
from lake.errors import LakeError
from lake.maintenance.vacuum import maintain
from lake.paths import Lake
from lake.query.session import open_session
from lake.releases.release import current_release, list_releases
from tests.ingest.conftest import run_ingest
from tests.support.built_lake import ENGINE, FEW
from tests.support.shop_edits import edit
from tests.torture.disk_trace import POLICIES, Disk, Policy, read_calls, recorded, write_state
from transform.build import BuildRequest, run_build
from transform.settings import RulesSettings

SHOP = Sandbox(port=0, days=4, orders_per_day=6, day_seconds=0, requests_per_minute=0)
# What a reader sees; each is one row a release.
FIGURES = """
select
    (select sum(revenue)::varchar || ' of ' || sum(orders_count) from gold.revenue_daily),
    (select sum(grand_total)::varchar || ' of ' || count(*) from silver.orders),
    (select string_agg(id || ':' || status_id, ' ' order by id) from silver.orders)
"""
Figures = tuple[str, ...]
LAKE, BACKUP, RESTORED = "lake", "backup", "restored"


class Verdict(msgspec.Struct, frozen=True):
    """The result of one state: the change after which the power was cut, the policy, and what went wrong."""

    number: int
    policy: Policy
    reason: str


def steps(root: Path, shop_url: str) -> dict[str, Callable[[], object]]:
    """Return the recorded steps by name."""
    lake = Lake(root=str(root / LAKE))
    later = datetime.now(UTC) + timedelta(days=1, hours=8)
    return {
        "full": lambda: run_ingest(lake, ENGINE, shop_url, root, "full"),
        "build": lambda: build(lake),
        "incremental": lambda: run_ingest(lake, ENGINE, shop_url, root, "incremental"),
        "build_again": lambda: build(lake),
        "maintain": lambda: maintain(lake, ENGINE, now=later),
        "backup": lambda: back_up(lake, str(root / BACKUP), now=later),
        "restore": lambda: restore(str(root / BACKUP), Lake(root=str(root / RESTORED))),
    }


def build(lake: Lake) -> None:
    """Build a few of the models and publish them."""
    run_build(lake, BuildRequest(engine=ENGINE, rules=RulesSettings(), models=FEW))


def record(root: str, shop_url: str) -> None:
    """Do the steps, each after a line on stdin; print a line after each."""
    for name, step in steps(Path(root), shop_url).items():
        sys.stdin.readline()
        step()
        print(name, flush=True)


def figures(lake: Lake) -> dict[int, Figures]:
    """Return the figures of each release."""
    return {release.release: figures_of(lake, release.release) for release in list_releases(lake)}


def figures_of(lake: Lake, number: int | None = None) -> Figures:
    """Return the figures of a release, or of the current one."""
    releases = {release.release: release for release in list_releases(lake)}
    session = open_session(lake, ENGINE, releases[number or max(releases)])
    return tuple(map(str, session.execute(FIGURES).fetchall()[0]))


class Campaign:
    """The recorded changes, the figures of the undisturbed run, and the shop that the lake is filled from."""

    def __init__(self, place: Path, shop: ThreadedShop) -> None:
        self.place = place
        self._shop = shop
        root = place / "root"
        root.mkdir()
        self.root = str(root)
        command = [sys.executable, "-m", "tests.torture.power", "record", self.root, shop.url]
        with recorded(command, place) as child:
            assert child.stdin
            assert child.stdout
            for name in steps(root, shop.url):
                if name == "incremental":
                    ids = [order.id for order in shop.call(lambda shop: shop.world.truth()).orders]
                    edit(shop, *(edits.SetStatus(number, 19, bump=True) for number in ids[::5]))
                child.stdin.write("\n")
                child.stdin.flush()
                line = child.stdout.readline().strip()
                assert line == name, f"the step {name} failed"
        self.calls = read_calls(place)
        self.published = figures(Lake(root=str(root / LAKE)))
        self.final = figures_of(Lake(root=str(root / LAKE)))

    def states(self, count: int, dice: random.Random) -> Iterator[tuple[int, Policy, Path]]:
        """Yield about ``count`` states, evenly over the changes, each in a folder of its own."""
        changes = sum(1 for _ in Disk(self.root).replay(self.calls))
        chosen = Counter(number * changes // count for number in range(count))
        disk, policies = Disk(self.root), list(POLICIES)
        for index, number in enumerate(disk.replay(self.calls)):
            for _ in range(chosen[index]):
                policy = dice.choice(policies)
                with tempfile.TemporaryDirectory(dir=self.place) as folder:
                    write_state(disk.after_power_cut(policy, dice), Path(folder))
                    yield number, policy, Path(folder)

    def judge(self, folder: Path) -> str | None:
        """Return what is wrong with a state; None if readers see the truth and the next commands converge."""
        log_check.WHOLE.clear()
        lake, restored = Lake(root=str(folder / LAKE)), Lake(root=str(folder / RESTORED))
        for place in (lake, restored):
            if reason := self.served(place) or self.shown(place):
                return reason
        run_ingest(lake, ENGINE, self._shop.url, self.place, "incremental")
        build(lake)
        if (shown := figures_of(lake)) != self.final:
            return f"the next build shows {shown}, not {self.final}"
        if (folder / BACKUP / MANIFEST).exists():
            restore_again(folder / BACKUP, restored)
            if (shown := figures_of(restored)) != self.final:
                return f"the restored lake shows {shown}, not {self.final}"
        return None

    def served(self, lake: Lake) -> str | None:
        """Return which figures a server would show that were not published; None if it shows or refuses."""
        try:
            reader = msgspec.structs.replace(lake, read_only=True)
            release = current_release(reader)
            shown = figures_of(reader, release.release) if release else None
        except LakeError:
            return None
        if release is None or shown == self.published[release.release]:
            return None
        return f"a server shows {shown} as release {release.release}"

    def shown(self, lake: Lake) -> str | None:
        """Return which figures of a lake are not those of the release; None if all are, or it is refused."""
        try:
            release = current_release(lake)
            if release is None:
                return None
            shown = figures_of(lake, release.release)
        except LakeError as error:
            return None if "restore to this place is not finished" in str(error) else f"refused: {error}"
        expected = self.published[release.release]
        if shown != expected:
            return f"release {release.release} shows {shown}, it was published with {expected}"
        return self.shown_to_analysts(lake)

    def shown_to_analysts(self, lake: Lake) -> str | None:
        """Return what ``lake.duckdb`` shows if that is not its release; None if it is, or does not open."""
        if lake.catalogue is None or not lake.catalogue.exists():
            return None
        try:
            with duckdb.connect(str(lake.catalogue), read_only=True) as analyst:
                analyst.execute(f"set variable keylake_root = '{lake.place}'")
                number = analyst.execute("select release from ops.current_release").fetchall()[0][0]
                shown = tuple(map(str, analyst.execute(FIGURES).fetchall()[0]))
        except duckdb.Error:
            return None
        return None if shown == self.published[number] else f"the catalogue of release {number} shows {shown}"


def restore_again(backup: Path, lake: Lake) -> None:
    """Restore a backup, unless the lake is complete already."""
    try:
        figures_of(lake)
    except (LakeError, ValueError):
        restore(str(backup), lake)


@contextmanager
def campaign() -> Iterator[Campaign]:
    """Record the steps on a small shop."""
    with ExitStack() as stack:
        place = Path(tempfile.mkdtemp(prefix="power-"))
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        yield Campaign(place, stack.enter_context(serving(SHOP)))


def run(count: int, seed: int) -> list[Verdict]:
    """Judge about ``count`` states; print the figures and return what went wrong."""
    dice, failures, policies = random.Random(seed), [], Counter[Policy]()
    with campaign() as recorded_steps:
        for number, policy, folder in recorded_steps.states(count, dice):
            policies[policy] += 1
            if reason := judged(recorded_steps, folder):
                failures.append(Verdict(number, policy, reason))
                print(f"call {number}, {policy}: {reason}", flush=True)
    print(json.dumps({"states": sum(policies.values()), "by policy": policies, "wrong": len(failures)}))
    return failures


def judged(recorded_steps: Campaign, folder: Path) -> str | None:
    """Return what is wrong with a state, an unexpected error included."""
    started_at = time.time()
    try:
        with patch.object(log_check, "booted_at", lambda: started_at):
            return recorded_steps.judge(folder)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def quiet() -> None:
    """Print no log events."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def main(arguments: Sequence[str]) -> int:
    """Record a run if asked to, else judge states; return the exit code."""
    quiet()
    if arguments[:1] == ["record"]:
        record(*arguments[1:])
        return 0
    count, seed = (int(argument) for argument in [*arguments, "600", "1"][:2]) if arguments else (600, 1)
    return 1 if run(count, seed) else 0


if __name__ == "__main__":
    end(main(sys.argv[1:]))
