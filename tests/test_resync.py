"""Resync as an operator runs it: real processes on a sandbox shop."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest

from ingest.sandbox import edits
from ingest.sandbox.command import ThreadedShop, serving
from ingest.sandbox.settings import Sandbox
from lake.delta.tables import open_table
from lake.ledgers.runs import list_runs, new_run_id
from lake.paths import Lake
from lake.releases.release import Release, current_release, list_releases
from lake.settings import LakeSettings
from tests.support.recompute import counted, revenue_daily
from tests.support.release_history import read_bytes
from tests.support.running import environ_of, run, succeed
from tests.support.shop_edits import add_fault, edit, lake_orders, pass_time, shop_orders

KILLS = 8
SMALL = Sandbox(port=0, days=40, orders_per_day=15, day_seconds=0, requests_per_minute=0)
SILENT = (
    edits.SetStatus(3, 22, bump=False),
    edits.EditOrder(8, grand_total=Decimal("1234.56"), bump=False),
    edits.DeleteOrder(11),
)


class World(msgspec.Struct, frozen=True):
    """A shop, its lake with the first release, and the environment of commands on both."""

    lake: Lake
    shop: ThreadedShop
    environ: dict[str, str]

    @property
    def serving(self) -> Release:
        """The current release."""
        release = current_release(self.lake)
        assert release
        return release

    @property
    def newest(self) -> int:
        """The id of the newest order."""
        return max(shop_orders(self.shop))

    @property
    def true_revenue(self) -> Decimal:
        """The total revenue, computed from the shop's own records."""
        daily = revenue_daily(self.shop.call(lambda running: running.world.truth()))
        return sum((revenue for revenue, _, _ in daily.values()), Decimal())

    @property
    def sold(self) -> int:
        """The id of an order that counts as revenue and that SILENT does not edit."""
        truth = self.shop.call(lambda running: running.world.truth())
        return next(order.id for order in counted(truth) if order.id > 11 and order.lines)

    def requests(self) -> int:
        """Return the number of requests since the last call."""
        count: int = self.shop.call(lambda running: running.shop.tally.counts()).requests
        self.shop.call(lambda running: running.shop.tally.reset())
        return count

    def resync(self, *options: str) -> str:
        """Run a resync that must succeed; return its output."""
        return succeed(self.environ, "serve", "resync", *options)

    def refused(self, *options: str, code: int) -> str:
        """Run a resync that must exit with ``code`` and publish nothing; return its last line on stderr."""
        before, heads = list_releases(self.lake), self.heads()
        done = run(self.environ, "serve", "resync", *options)
        assert done.returncode == code, done
        assert list_releases(self.lake) == before
        assert self.heads() == heads
        return done.stderr.splitlines()[-1]

    def heads(self) -> dict[str, int]:
        """Return the head version of every published table."""
        return {name: open_table(self.lake, name).version for name in self.serving.tables}


@pytest.fixture(scope="module")
def first_release(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake with forty days of orders, ingested and published; no test changes it."""
    lake = Lake(root=str(tmp_path_factory.mktemp("first") / "lake"), durable=False)
    with serving(SMALL) as shop:
        environ = environ_of(lake, shop.url)
        succeed(environ, "ingest", "full")
        succeed(environ, "transform")
    return lake


@pytest.fixture
def world(first_release: Lake, lake: Lake) -> Iterator[World]:
    """Run the shop again, with a copy of its lake: the same settings make the same shop."""
    shutil.copytree(first_release.root, lake.root)
    with serving(SMALL) as shop:
        yield World(lake, shop, environ_of(lake, shop.url))


def test_a_resync_shows_and_publishes_silent_changes(world: World) -> None:
    """Silent edits and an old deletion are shown per month and table, then published in one release."""
    before = world.serving.money["gold.revenue_daily"]
    edit(world.shop, *SILENT)
    output = world.resync()
    release = world.serving
    assert (release.release, release.kind, release.parent) == (2, "resync", 1)
    assert release.money["gold.revenue_daily"] == world.true_revenue
    assert "compared with the CRM" in output
    (line,) = [line for line in output.splitlines() if line.split()[:2] == ["gold.revenue_daily", "2024-09"]]
    assert line.split()[-1] == f"{world.true_revenue - before}"
    assert "release 2 (resync)" in output
    assert release.reconciled_through
    assert "nothing differs from release 2" in world.resync()
    assert world.serving == release


def test_later_releases_keep_the_time_of_reconciliation(world: World) -> None:
    """A sync keeps `reconciled_through`; if another set of runs is excluded, it is reset."""
    edit(world.shop, *SILENT)
    world.resync()
    through = world.serving.reconciled_through
    assert through
    edit(world.shop, edits.EditOrder(world.newest, grand_total=Decimal("5.00")))
    succeed(world.environ, "serve", "sync")
    assert (world.serving.kind, world.serving.reconciled_through) == ("sync", through)
    succeed(world.environ, "lake", "resume", "--exclude-run", list_runs(world.lake)[0].run_id)
    succeed(world.environ, "transform")
    assert world.serving.reconciled_through is None


def test_a_dry_run_shows_the_same_and_publishes_nothing(world: World) -> None:
    """A dry run shows the differences and creates neither a release nor a table version."""
    edit(world.shop, *SILENT)
    before = world.heads()
    output = world.resync("--dry-run")
    assert "gold.revenue_daily" in output
    assert "nothing is published" in output
    assert (world.serving.release, world.heads()) == (1, before)


def test_from_bronze_sends_no_request(world: World) -> None:
    """With --from-bronze a resync needs no key, and publishes if a full build differs from the release."""
    without_key = {**world.environ, "KEYCRM_API_KEY": ""}
    world.requests()
    assert "nothing differs from release 1" in succeed(without_key, "serve", "resync", "--from-bronze")
    edit(world.shop, *SILENT)
    succeed(world.environ, "ingest", "sweep", "--all")
    world.requests()
    output = succeed(without_key, "serve", "resync", "--from-bronze")
    assert world.requests() == 0
    assert "release 2 (resync)" in output
    assert world.serving.money["gold.revenue_daily"] == world.true_revenue
    assert world.serving.reconciled_through is None


def test_days_limit_a_resync_to_recent_orders(world: World) -> None:
    """With --days older orders are neither requested nor compared, and nothing is marked as reconciled."""
    world.requests()
    world.resync()
    whole = world.requests()
    newest = world.newest
    edit(world.shop, edits.SetStatus(3, 22, bump=False), edits.SetStatus(newest, 22, bump=False))
    world.resync("--days", "5")
    assert world.requests() < whole
    assert lake_orders(world.lake, LakeSettings())[newest] == shop_orders(world.shop)[newest]
    assert lake_orders(world.lake, LakeSettings())[3] != shop_orders(world.shop)[3]
    assert (world.serving.release, world.serving.reconciled_through) == (2, None)


def test_a_build_that_differs_from_the_crm_is_not_published(world: World) -> None:
    """If the run with an order's newest state is excluded, the build differs from the CRM and is refused."""
    order_id, run_id = world.sold, new_run_id(datetime.now(UTC))
    edit(world.shop, edits.EditOrder(order_id, grand_total=Decimal("99.99")))
    succeed(world.environ, "ingest", "resync", "--run", run_id)
    succeed(world.environ, "lake", "resume", "--exclude-run", run_id)
    done = run(world.environ, "transform", "resync", "--run", run_id)
    line = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 3
    assert line.startswith("error: the CRM has ")
    assert f"orders that differ: 1, {order_id} is 99.99 in the CRM" in line
    assert "days that differ: 1, the first 2024-09-" in line
    assert run_id in line
    assert "the last release serves" in line
    world.resync()  # observes again the states of the excluded run
    assert world.serving.money["gold.revenue_daily"] == world.true_revenue


@pytest.mark.parametrize("fault", ["page", "total", "gone"])
def test_an_incomplete_resync_is_exit_4_and_not_built(world: World, fault: str) -> None:
    """A resync is incomplete if a page fails, a count never agrees, or an order gets no answer."""
    environ = {**world.environ, "KEYLAKE_SOURCE_ATTEMPTS": "2"}
    world = msgspec.structs.replace(world, environ=environ)
    edit(world.shop, *SILENT)
    if fault == "page":
        add_fault(world.shop, kind="status", path="/order", page=3, status=503, times=0)
    elif fault == "total":
        add_fault(world.shop, kind="total", path="/order", times=0, delta=1)
    else:
        add_fault(world.shop, kind="status", path="/order/11", status=503, times=0)
    assert "resync ingest is incomplete" in world.refused(code=4)
    world.shop.call(lambda running: running.shop.plan.clear())
    world.resync()
    assert world.serving.money["gold.revenue_daily"] == world.true_revenue


def test_rejected_orders_are_left_out_and_reported(world: World) -> None:
    """A rejected order is served in its last valid state, and the release is not marked as reconciled."""
    edit(world.shop, *SILENT)
    add_fault(world.shop, kind="wrong_type", path="/order", page=1, times=0, field="grand_total", value=2.555)
    output = world.resync()
    assert " rejected and left out, see bronze.rejected" in output
    assert world.serving.release == 2
    assert world.serving.reconciled_through is None


def test_a_resync_includes_a_sync_published_during_it(world: World) -> None:
    """Orders changed, added or deleted after the resync read them are compared by their newer observation."""
    edit(world.shop, *SILENT)
    run_id = "20261124T100000Z-0a1b2c3d"
    succeed(world.environ, "ingest", "resync", "--run", run_id)
    newest = world.newest
    edit(
        world.shop,
        edits.EditOrder(world.sold, grand_total=Decimal("77.70")),
        edits.DeleteOrder(newest),
    )
    pass_time(world.shop, hours=6)
    assert world.newest > newest
    succeed(world.environ, "serve", "sync")
    assert world.serving.kind == "sync"
    pass_time(world.shop, hours=3)
    succeed(world.environ, "ingest", "incremental")
    output = succeed(world.environ, "transform", "resync", "--run", run_id)
    assert "changed since, compared by their newer observation" in output
    assert world.serving.kind == "resync"
    assert world.serving.money["gold.revenue_daily"] == world.true_revenue


def test_a_resync_is_refused_while_publishing_is_on_hold(world: World) -> None:
    """On hold a resync sends no request; a dry run works, and a resync works after `resume`."""
    edit(world.shop, *SILENT)
    world.resync()
    succeed(world.environ, "lake", "rollback")
    world.requests()
    for options in ((), ("--days", "3"), ("--from-bronze",)):
        assert "publishing is held since release 3" in world.refused(*options, code=1)
    assert world.requests() == 0
    assert "publishing is held" in world.resync("--from-bronze", "--dry-run")
    assert world.serving.release == 3
    succeed(world.environ, "lake", "resume")
    world.resync()
    assert world.serving.kind == "resync"


def test_a_resync_and_its_rollback_can_be_rolled_back(world: World) -> None:
    """A rollback restores the bytes before the resync, and a second one the bytes after it."""
    edit(world.shop, *SILENT)
    world.resync()
    old, new = (read_bytes(world.lake, release) for release in reversed(list_releases(world.lake)))
    assert old != new
    succeed(world.environ, "lake", "rollback")
    assert read_bytes(world.lake, world.serving) == old
    succeed(world.environ, "lake", "rollback")
    assert read_bytes(world.lake, world.serving) == new
    succeed(world.environ, "lake", "resume")
    assert "nothing differs" in world.resync()
    assert read_bytes(world.lake, world.serving) == new


def test_two_concurrent_resyncs_converge(world: World) -> None:
    """Of two resyncs one publishes; the other compares its own evidence and finds no difference left."""
    edit(world.shop, *SILENT)
    both = [
        subprocess.Popen([sys.executable, "-m", "serve", "resync"], env=world.environ, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    outputs = [child.communicate(timeout=600)[0].decode() for child in both]
    assert [child.returncode for child in both] == [0, 0], outputs
    assert all("compared with the CRM" in output for output in outputs)
    assert world.serving.money["gold.revenue_daily"] == world.true_revenue
    assert [release.kind for release in list_releases(world.lake)] == ["resync", "full"]


def test_a_resync_without_a_history_is_refused(lake: Lake) -> None:
    """If no full load has run, a resync exits with 4 and names the next step."""
    done = run(environ_of(lake), "serve", "resync")
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert "just ingest full" in done.stderr


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("serve", "resync", "--days", "3", "--from-bronze"), "choose one"),
        (("serve", "resync", "--days", "0"), "--days"),
        (("ingest", "resync", "--run", "../elsewhere"), "is not a run id"),
        (("transform", "--full", "resync"), "choose one"),
    ],
)
def test_wrong_usage_is_exit_2(lake: Lake, command: tuple[str, ...], message: str) -> None:
    """Wrong usage of a resync is one line with exit code 2."""
    done = run(environ_of(lake), *command)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr


def test_a_build_compares_only_with_a_complete_resync(world: World) -> None:
    """A run of another kind is refused, and so is a run that does not exist."""
    whole = list_runs(world.lake)[0].run_id
    for run_id, reason in ((whole, "it is full"), ("20261124T100000Z-0a1b2c3d", "there is no such run")):
        done = run(world.environ, "transform", "resync", "--run", run_id)
        assert done.returncode == 2
        assert reason in done.stderr


@pytest.mark.slow
def test_a_killed_resync_leaves_the_old_release_or_the_new(world: World) -> None:
    """If a resync is killed at any point, readers see the old or the new release, and the next converges."""
    dice = random.Random(20261124)
    edit(world.shop, *SILENT)
    command = [sys.executable, "-m", "serve", "resync"]
    began = time.monotonic()
    subprocess.run(command, env=world.environ, stdout=subprocess.DEVNULL, check=True)
    duration = time.monotonic() - began
    kills = 0
    while kills < KILLS:
        total = Decimal(dice.randrange(100, 100_000)) / 100
        edit(world.shop, edits.EditOrder(dice.choice((2, 40, 200)), grand_total=total, bump=False))
        before = world.serving
        content = read_bytes(world.lake, before)
        child = subprocess.Popen(
            command,
            env=world.environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            child.wait(duration * dice.uniform(0.1, 1.0))
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            kills += 1
        after = world.serving
        assert read_bytes(world.lake, before) == content
        assert after.release - before.release in (0, 1)
        if after != before:
            assert after.kind == "resync"
            assert after.money["gold.revenue_daily"] == world.true_revenue
    world.resync()
    assert world.serving.money["gold.revenue_daily"] == world.true_revenue
    assert lake_orders(world.lake, LakeSettings()) == shop_orders(world.shop)
    assert {name: open_table(world.lake, name).read().to_pylist() for name in world.serving.tables} == {
        name: open_table(world.lake, name, version).read().to_pylist()
        for name, version in world.serving.tables.items()
    }
