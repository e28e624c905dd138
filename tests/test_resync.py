"""Resync, as the operator runs it: real processes on a real shop."""

import os
import random
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
from lake.delta.table import open_table
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


class Place(msgspec.Struct, frozen=True):
    """A lake with its first release, and the shop it is of."""

    lake: Lake
    shop: ThreadedShop
    environ: dict[str, str]

    @property
    def serving(self) -> Release:
        """The release that serves."""
        found = current_release(self.lake)
        assert found
        return found

    @property
    def newest(self) -> int:
        """The newest order."""
        return max(shop_orders(self.shop))

    @property
    def true_revenue(self) -> Decimal:
        """What revenue is in all, by the shop's own truth."""
        daily = revenue_daily(self.shop.call(lambda running: running.world.truth()))
        return sum((revenue for revenue, _, _ in daily.values()), Decimal())

    @property
    def sold(self) -> int:
        """An order of a source that counts."""
        truth = self.shop.call(lambda running: running.world.truth())
        return next(order.id for order in counted(truth) if order.id > 11 and order.lines)

    def requests(self) -> int:
        """Return how many requests came since the last look."""
        found: int = self.shop.call(lambda running: running.shop.tally.counts()).requests
        self.shop.call(lambda running: running.shop.tally.reset())
        return found

    def resync(self, *options: str) -> str:
        """Run a resync that must succeed."""
        return succeed(self.environ, "serve", "resync", *options)

    def refused(self, *options: str, code: int) -> str:
        """Run a resync that must fail so and publish nothing; return its last line."""
        before, heads = list_releases(self.lake), self.heads()
        done = run(self.environ, "serve", "resync", *options)
        assert done.returncode == code, done
        assert list_releases(self.lake) == before
        assert self.heads() == heads
        return done.stderr.splitlines()[-1]

    def heads(self) -> dict[str, int]:
        """Return the newest version of every table that readers see."""
        return {name: open_table(self.lake, name).version for name in self.serving.tables}


@pytest.fixture
def place(lake: Lake) -> Iterator[Place]:
    """A shop of forty days, ingested and published."""
    with serving(SMALL) as shop:
        found = Place(lake, shop, environ_of(lake, shop.url))
        succeed(found.environ, "ingest", "full")
        succeed(found.environ, "transform")
        yield found


def test_a_resync_finds_what_no_sync_could_see_shows_it_and_publishes(place: Place) -> None:
    """Silent edits and a deletion of weeks ago: told per month and table, then published in one release."""
    was = place.serving.money["gold.revenue_daily"]
    edit(place.shop, *SILENT)
    said = place.resync()
    release = place.serving
    assert (release.release, release.kind, release.parent) == (2, "resync", 1)
    assert release.money["gold.revenue_daily"] == place.true_revenue
    assert "compared with the CRM" in said
    (line,) = [line for line in said.splitlines() if line.split()[:2] == ["gold.revenue_daily", "2024-09"]]
    assert line.split()[-1] == f"{place.true_revenue - was}"
    assert "release 2 (resync)" in said
    assert release.reconciled_through
    assert "nothing differs from release 2" in place.resync()
    assert place.serving == release


def test_later_releases_go_on_saying_through_when_all_was_reconciled(place: Place) -> None:
    """A sync does not take it back; other runs left out do."""
    edit(place.shop, *SILENT)
    place.resync()
    through = place.serving.reconciled_through
    assert through
    edit(place.shop, edits.EditOrder(place.newest, grand_total=Decimal("5.00")))
    succeed(place.environ, "serve", "sync")
    assert (place.serving.kind, place.serving.reconciled_through) == ("sync", through)
    succeed(place.environ, "lake", "resume", "--exclude-run", list_runs(place.lake)[0].run_id)
    succeed(place.environ, "transform")
    assert place.serving.reconciled_through is None


def test_a_dry_run_shows_the_same_and_publishes_nothing(place: Place) -> None:
    """Neither a release nor a version of a table."""
    edit(place.shop, *SILENT)
    before = place.heads()
    said = place.resync("--dry-run")
    assert "gold.revenue_daily" in said
    assert "nothing is published" in said
    assert (place.serving.release, place.heads()) == (1, before)


def test_from_bronze_asks_the_crm_nothing(place: Place) -> None:
    """No request, no key; it publishes only where a full build differs from what serves."""
    without_key = {**place.environ, "KEYCRM_API_KEY": ""}
    place.requests()
    assert "nothing differs from release 1" in succeed(without_key, "serve", "resync", "--from-bronze")
    edit(place.shop, *SILENT)
    succeed(place.environ, "ingest", "sweep", "--all")
    place.requests()
    said = succeed(without_key, "serve", "resync", "--from-bronze")
    assert place.requests() == 0
    assert "release 2 (resync)" in said
    assert place.serving.money["gold.revenue_daily"] == place.true_revenue
    assert place.serving.reconciled_through is None


def test_days_look_no_further_back(place: Place) -> None:
    """Of those orders all is compared; of older ones nothing is asked, nor promised."""
    place.requests()
    place.resync()
    whole = place.requests()
    newest = place.newest
    edit(place.shop, edits.SetStatus(3, 22, bump=False), edits.SetStatus(newest, 22, bump=False))
    place.resync("--days", "5")
    assert place.requests() < whole
    assert lake_orders(place.lake, LakeSettings())[newest] == shop_orders(place.shop)[newest]
    assert lake_orders(place.lake, LakeSettings())[3] != shop_orders(place.shop)[3]
    assert (place.serving.release, place.serving.reconciled_through) == (2, None)


def test_what_is_not_as_the_crm_shows_it_is_not_published(place: Place) -> None:
    """The very run that saw an order's newest state is left out: the build lacks what the CRM shows."""
    found, run_id = place.sold, new_run_id(datetime.now(UTC))
    edit(place.shop, edits.EditOrder(found, grand_total=Decimal("99.99")))
    succeed(place.environ, "ingest", "resync", "--run", run_id)
    succeed(place.environ, "lake", "resume", "--exclude-run", run_id)
    done = run(place.environ, "transform", "resync", "--run", run_id)
    line = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 3
    assert line.startswith("error: the CRM has ")
    assert f"orders that differ: 1, {found} is 99.99 in the CRM" in line
    assert "days that differ: 1, the first 2024-09-" in line
    assert run_id in line
    assert "the last release serves" in line
    place.resync()  # which sees again what the run that is left out had brought
    assert place.serving.money["gold.revenue_daily"] == place.true_revenue


@pytest.mark.parametrize("fault", ["page", "total", "gone"])
def test_a_part_of_the_answer_is_exit_4_and_not_even_built(place: Place, fault: str) -> None:
    """A page that failed, a count that never agrees, an order nobody can answer for."""
    environ = {**place.environ, "KEYLAKE_SOURCE_ATTEMPTS": "2"}
    place = msgspec.structs.replace(place, environ=environ)
    edit(place.shop, *SILENT)
    if fault == "page":
        add_fault(place.shop, kind="status", path="/order", page=3, status=503, times=0)
    elif fault == "total":
        add_fault(place.shop, kind="total", path="/order", times=0, delta=1)
    else:
        add_fault(place.shop, kind="status", path="/order/11", status=503, times=0)
    assert "resync ingest is incomplete" in place.refused(code=4)
    place.shop.call(lambda running: running.shop.plan.clear())
    place.resync()
    assert place.serving.money["gold.revenue_daily"] == place.true_revenue


def test_orders_that_cannot_be_typed_are_left_out_and_said(place: Place) -> None:
    """Their last good state serves, as in every build; of the whole nothing is promised then."""
    edit(place.shop, *SILENT)
    add_fault(place.shop, kind="wrong_type", path="/order", page=1, times=0, field="grand_total", value=2.555)
    said = place.resync()
    assert " rejected and left out, see bronze.rejected" in said
    assert place.serving.release == 2
    assert place.serving.reconciled_through is None


def test_a_sync_that_publishes_meanwhile_is_in_it(place: Place) -> None:
    """What changed after it was shown is compared by the newer look, deletions and new orders too."""
    edit(place.shop, *SILENT)
    run_id = "20261124T100000Z-0a1b2c3d"
    succeed(place.environ, "ingest", "resync", "--run", run_id)
    newest = place.newest
    edit(
        place.shop,
        edits.EditOrder(place.sold, grand_total=Decimal("77.70")),
        edits.DeleteOrder(newest),
    )
    pass_time(place.shop, hours=6)
    assert place.newest > newest
    succeed(place.environ, "serve", "sync")
    assert place.serving.kind == "sync"
    pass_time(place.shop, hours=3)
    succeed(place.environ, "ingest", "incremental")
    said = succeed(place.environ, "transform", "resync", "--run", run_id)
    assert "changed since, compared by their newer observation" in said
    assert place.serving.kind == "resync"
    assert place.serving.money["gold.revenue_daily"] == place.true_revenue


def test_while_publishing_is_held_it_says_so_and_asks_nothing(place: Place) -> None:
    """Resumed it works; a dry run may look at any time."""
    edit(place.shop, *SILENT)
    place.resync()
    succeed(place.environ, "lake", "rollback")
    place.requests()
    for options in ((), ("--days", "3"), ("--from-bronze",)):
        assert "publishing is held since release 3" in place.refused(*options, code=1)
    assert place.requests() == 0
    assert "publishing is held" in place.resync("--from-bronze", "--dry-run")
    assert place.serving.release == 3
    succeed(place.environ, "lake", "resume")
    place.resync()
    assert place.serving.kind == "resync"


def test_a_resync_is_rolled_back_and_the_rollback_too(place: Place) -> None:
    """To the byte, in both directions."""
    edit(place.shop, *SILENT)
    place.resync()
    old, new = (read_bytes(place.lake, release) for release in reversed(list_releases(place.lake)))
    assert old != new
    succeed(place.environ, "lake", "rollback")
    assert read_bytes(place.lake, place.serving) == old
    succeed(place.environ, "lake", "rollback")
    assert read_bytes(place.lake, place.serving) == new
    succeed(place.environ, "lake", "resume")
    assert "nothing differs" in place.resync()
    assert read_bytes(place.lake, place.serving) == new


def test_two_at_once_converge(place: Place) -> None:
    """One publishes; the other finds it done, or builds on it. Each compares with its own evidence."""
    edit(place.shop, *SILENT)
    both = [
        subprocess.Popen([sys.executable, "-m", "serve", "resync"], env=place.environ, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    said = [child.communicate(timeout=600)[0].decode() for child in both]
    assert [child.returncode for child in both] == [0, 0], said
    assert all("compared with the CRM" in each for each in said)
    assert place.serving.money["gold.revenue_daily"] == place.true_revenue
    assert [release.kind for release in list_releases(place.lake)] == ["resync", "full"]


def test_without_a_history_there_is_nothing_to_read_again(lake: Lake) -> None:
    """Exit 4, and what to do."""
    done = run(environ_of(lake), "serve", "resync")
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert "just ingest full" in done.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("serve", "resync", "--days", "3", "--from-bronze"), "choose one"),
        (("serve", "resync", "--days", "0"), "--days"),
        (("ingest", "resync", "--run", "../elsewhere"), "is not a run id"),
        (("transform", "--full", "resync"), "choose one"),
    ],
)
def test_wrong_usage_is_exit_2(lake: Lake, command: tuple[str, ...], said: str) -> None:
    """One line."""
    done = run(environ_of(lake), *command)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr


def test_only_a_complete_resync_is_compared_with(place: Place) -> None:
    """Neither another kind of run, nor one that never was."""
    whole = list_runs(place.lake)[0].run_id
    for run_id, said in ((whole, "it is full"), ("20261124T100000Z-0a1b2c3d", "there is no such run")):
        done = run(place.environ, "transform", "resync", "--run", run_id)
        assert done.returncode == 2
        assert said in done.stderr


def test_killed_at_any_moment_readers_see_the_old_release_or_the_new(place: Place) -> None:
    """kill -9 of all its processes at once, from the first request to the publish; run again it converges."""
    dice = random.Random(20261124)
    edit(place.shop, *SILENT)
    began = time.monotonic()
    place.resync()
    lasts = time.monotonic() - began
    killed = 0
    while killed < KILLS:
        total = Decimal(dice.randrange(100, 100_000)) / 100
        edit(place.shop, edits.EditOrder(dice.choice((2, 40, 200)), grand_total=total, bump=False))
        before = place.serving
        said = read_bytes(place.lake, before)
        child = subprocess.Popen(
            [sys.executable, "-m", "serve", "resync"],
            env=place.environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            child.wait(lasts * dice.uniform(0.1, 1.0))
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            killed += 1
        now = place.serving
        assert read_bytes(place.lake, before) == said
        assert now.release - before.release in (0, 1)
        if now != before:
            assert now.kind == "resync"
            assert now.money["gold.revenue_daily"] == place.true_revenue
    place.resync()
    assert place.serving.money["gold.revenue_daily"] == place.true_revenue
    assert lake_orders(place.lake, LakeSettings()) == shop_orders(place.shop)
    assert {name: open_table(place.lake, name).read().to_pylist() for name in place.serving.tables} == {
        name: open_table(place.lake, name, at).read().to_pylist() for name, at in place.serving.tables.items()
    }
