"""Crashes and concurrent builds: readers see one release, and the next build repairs the rest."""

import contextlib
import errno
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from lake.delta.contract import Contract
from lake.delta.tables import create_table, open_table
from lake.errors import CommitConflict
from lake.query.catalogue import publish
from lake.query.session import connect, create_view, heads
from lake.releases.release import Release, current_release, find_release, list_releases
from tests.support.built_lake import ENGINE, FEW, Shop, ingested_shop, instant
from transform.build import Build, BuildRequest, run_build
from transform.settings import RulesSettings

pytestmark = pytest.mark.slow

KILLS = 12
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["transform.build"])


def grow(shop: Shop, minute: int) -> None:
    """Add an order, edit and move another one, and rename a buyer."""
    new, edited = 100 + minute, 1 + minute % 5
    shop.observe(
        "bronze.order_products",
        "order_id | position | product_id | price | fetched_at\n"
        f"{new} | 1 | 7 | {minute}.10 | {instant(minute)}\n"
        f"{edited} | 1 | 8 | {minute}.20 | {instant(minute)}",
    )
    shop.observe(
        "bronze.orders",
        "id | ordered_at | source_id | buyer_id | status_id | grand_total | fetched_at\n"
        f"{new} | 2026-0{5 + minute % 4}-20 10:00 | 4 | 31 | 12 | {minute}.10 | {instant(minute)}\n"
        f"{edited} | 2026-0{5 + minute % 3}-21 10:00 | 1 | 31 | 12 | {minute}.20 | {instant(minute)}",
    )
    shop.observe("bronze.buyers", f"id | full_name | fetched_at\n31 | Оксана {minute} | {instant(minute)}")


def build_until(shop: Shop, commits: int) -> None:
    """Build, and kill the process after a number of commits."""
    left = iter(range(1, commits))

    def kill(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if event["event"] == "transform.committed" and next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return event

    structlog.configure(processors=[kill, structlog.processors.KeyValueRenderer()])
    shop.build()


def start(target: Callable[..., object], *arguments: object, **named: object) -> Any:
    """Start a process."""
    child = CHILDREN.Process(target=target, args=arguments, kwargs=named)
    child.start()
    return child


def heads_equal_release(shop: Shop) -> bool:
    """Return True if the heads of silver and gold have the rows of the release."""
    release = current_release(shop.lake)
    assert release
    return {name: open_table(shop.lake, name).read().to_pylist() for name in release.tables} == {
        name: open_table(shop.lake, name, at).read().to_pylist() for name, at in release.tables.items()
    }


def test_a_head_ahead_of_its_release_is_restored(few: Shop) -> None:
    """A head ahead of the release is restored even if nothing new was ingested; readers never see it."""
    shown = few.read()
    for name in ("gold.revenue_daily", "silver.buyers"):
        table = open_table(few.lake, name)
        table.replace(table.read().slice(0, 0))
    assert few.read() == shown
    assert not heads_equal_release(few)
    assert few.build() is None
    assert heads_equal_release(few)
    before = few.heads()
    assert few.build() is None
    assert few.heads() == before


def test_leftovers_of_a_crash_are_in_no_later_release(few: Shop, tmp_path: Path) -> None:
    """After half a month was committed, a build of another month restores it."""
    table = open_table(few.lake, "gold.revenue_daily")
    table.replace(table.read().slice(0, 1))
    grow(few, 1)
    few.publish()
    assert few.read() == few.rebuilt_copy(tmp_path / "rebuilt").read()
    assert heads_equal_release(few)


def test_a_first_build_killed_between_commits_is_replaced(tmp_path: Path) -> None:
    """If there is no release, the next build replaces the tables that a killed build left."""
    shop = ingested_shop(tmp_path / "lake", models=FEW)
    child = start(build_until, shop, 13)
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert current_release(shop.lake) is None
    assert shop.lake.tables("silver")
    assert shop.publish().release == 1
    assert heads_equal_release(shop)


@pytest.mark.parametrize("commits", [1, 2, 4])
def test_a_build_killed_after_a_commit_has_no_effect(few: Shop, tmp_path: Path, commits: int) -> None:
    """The build is killed after the first commit, in the middle, and before the release is published."""
    shown = few.read()
    grow(few, 1)
    child = start(build_until, few, commits)
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert few.read() == shown
    assert not heads_equal_release(few)
    release = few.publish()
    assert len({move.table for move in release.moved}) == 4
    assert heads_equal_release(few)
    assert few.read(1) == shown
    assert few.read() == few.rebuilt_copy(tmp_path / "rebuilt").read()


def test_builds_killed_at_random_moments_converge(few: Shop, tmp_path: Path) -> None:
    """Every published release reads the same after any number of killed builds."""
    chance = random.Random(7)
    request = BuildRequest(engine=ENGINE, rules=RulesSettings(), models=FEW)
    grow(few, 1)
    since = time.monotonic()
    start(run_build, few.lake, request).join()
    whole = time.monotonic() - since
    kept = {number: few.read(number) for number in few.releases()}
    assert kept.keys() == {1, 2}
    for minute in range(2, 2 + KILLS):
        grow(few, minute)
        child = start(run_build, few.lake, request)
        child.join(chance.uniform(0.1, 1.1) * whole)
        child.kill()
        child.join()
        newest = few.releases()[0]
        shown = few.read()
        assert kept.setdefault(newest, shown) == shown
    few.build()
    assert {number: few.read(number) for number in kept} == kept
    assert sorted(few.releases()) == list(range(1, len(few.releases()) + 1))
    assert few.read() == few.rebuilt_copy(tmp_path / "rebuilt").read()
    assert heads_equal_release(few)


@contextlib.contextmanager
def prepared(shop: Shop) -> Iterator[Callable[[], object]]:
    """Yield a function that commits a finished build."""
    build = Build(shop.lake, ENGINE, RulesSettings(), shop.models)
    with build.queue as queue:
        candidates = build.build_candidates(queue)
        yield lambda: queue.commit(candidates)


def test_a_build_that_commits_second_meets_a_conflict(few: Shop, tmp_path: Path) -> None:
    """A build from older versions does not replace newer rows, whether they are published or not."""
    grow(few, 1)
    with prepared(few) as commit_slow:
        grow(few, 2)
        with prepared(few) as commit_quick:
            commit_quick()
        with pytest.raises(CommitConflict, match="nothing was written"):
            commit_slow()
    few.publish()
    assert few.read() == few.rebuilt_copy(tmp_path / "rebuilt").read()
    assert heads_equal_release(few)


def test_a_build_that_publishes_second_meets_a_conflict(few: Shop, tmp_path: Path) -> None:
    """The second build meets a conflict even if the two builds write different tables."""
    few.observe("bronze.offers", f"id | product_id | quantity | fetched_at\n 70 | 7 | 5 | {instant(1)}")
    with prepared(few) as commit_slow:
        grow(few, 2)
        few.publish()
        shown = few.read()
        with pytest.raises(CommitConflict):
            commit_slow()
    assert few.build() is None
    assert few.read() == shown == few.rebuilt_copy(tmp_path / "rebuilt").read()


def test_files_committed_before_a_conflict_are_kept(few: Shop, tmp_path: Path) -> None:
    """If a build commits one table and meets a conflict in the next, no referenced file is deleted."""
    grow(few, 1)
    with prepared(few) as commit:
        rival = open_table(few.lake, "gold.source_daily")
        rival.replace(rival.read())
        with pytest.raises(CommitConflict, match=r"gold\.source_daily: another process committed"):
            commit()
    assert few.heads()["silver.orders"] > find_release(few.lake, None).tables["silver.orders"]
    heads = [open_table(few.lake, name) for name in few.heads()]
    assert all(Path(uri).exists() for table in heads for uri in table.uris())
    few.publish()
    assert few.read() == few.rebuilt_copy(tmp_path / "rebuilt").read()


@pytest.mark.parametrize("is_first", [True, False])
def test_one_of_two_concurrent_builds_publishes(first_of_few: Shop, tmp_path: Path, is_first: bool) -> None:
    """The other build meets a conflict or has nothing to do, and the lake equals a full build."""
    shop = (
        first_of_few.copy(tmp_path / "lake", "bronze") if is_first else first_of_few.copy(tmp_path / "lake")
    )
    grow(shop, 1)
    together = threading.Barrier(2, timeout=300)
    ended: list[Release | CommitConflict | None] = []

    def build() -> None:
        together.wait()
        try:
            ended.append(shop.build())
        except CommitConflict as conflict:
            ended.append(conflict)

    builders = [threading.Thread(target=build) for _ in range(2)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert len(ended) == 2
    (release,) = [end for end in ended if isinstance(end, Release)]
    assert list_releases(shop.lake)[0] == release
    assert shop.read() == shop.rebuilt_copy(tmp_path / "rebuilt").read()
    shop.build()
    assert heads_equal_release(shop)


def test_committed_tables_before_publication_are_no_crash(
    few: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second build waits for the publication, then has nothing to do, and restores nothing."""
    grow(few, 1)
    ended: list[Release | None] = []
    other = threading.Thread(target=lambda: ended.append(few.build()))

    def publish_late(*args: Any, **options: Any) -> Release:
        other.start()
        other.join(timeout=2)
        assert other.is_alive(), "it did not wait"
        return publish(*args, **options)

    monkeypatch.setattr("transform.build.publish", publish_late)
    with structlog.testing.capture_logs() as events:
        release = few.publish()
        monkeypatch.undo()
        other.join()
    assert ended == [None]
    assert "lake.waits" in {line["event"] for line in events}
    assert {name: open_table(few.lake, name).version for name in release.tables} == release.tables
    assert few.read() == few.rebuilt_copy(tmp_path / "rebuilt").read()


def test_a_disk_without_locks_can_be_built_on(few: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build works on a disk without file locks, as some network disks are."""

    def refused(*_: int) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    grow(few, 1)
    monkeypatch.setattr("lake.lock.fcntl.flock", refused)
    assert few.publish()


def test_a_build_that_waited_for_another_release_writes_nothing(few: Shop) -> None:
    """The waiting build leaves no head ahead of the release and no unreferenced file."""
    grow(few, 1)
    slow = Build(few.lake, ENGINE, RulesSettings(), few.models)
    with slow.queue as queue:
        of_slow = slow.build_candidates(queue)
        grow(few, 2)
        few.publish()
        with pytest.raises(CommitConflict, match="was published in the meantime; nothing was written"):
            slow.publish(of_slow, [], kind=None, reconciled=None)
    assert not few.strays()


@pytest.fixture
def growing(few: Shop) -> Iterator[threading.Thread]:
    """An ingest that runs concurrently with the test."""

    def ingest() -> None:
        for minute in range(1, 11):
            grow(few, minute)

    # These sort between the lines and the orders, so that reading all heads takes time.
    for number in range(30):
        create_table(few.lake, f"bronze.order_products_{number}", Contract.of({"id": "BIGINT"}).schema)
    thread = threading.Thread(target=ingest)
    thread.start()
    yield thread
    thread.join()


def test_no_order_is_read_without_its_lines_during_an_ingest(few: Shop, growing: threading.Thread) -> None:
    """An order is committed after its lines, so its table is opened before theirs."""
    connection = connect(ENGINE)
    while growing.is_alive():
        versions = heads(few.lake)
        for name in ("orders", "order_products"):
            at = versions[f"bronze.{name}"]
            create_view(connection, name, open_table(few.lake, f"bronze.{name}", at))
        without = connection.execute(
            "select o.id from orders as o"
            " anti join order_products as l on l.order_id = o.id and l.fetched_at = o.fetched_at"
            " where o.id <> 6"
        ).fetchall()
        assert without == []
