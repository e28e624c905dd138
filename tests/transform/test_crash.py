"""Crashes and rivals: whatever stops a build, readers see one moment and the next build mends it."""

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

from lake.contract import Contract
from lake.errors import CommitConflict
from lake.release import Release, current_release, list_releases
from lake.session import connect, create_view
from lake.table import create_table, open_table
from tests.transform.shop import ENGINE, MODELS, Shop, look, opened
from transform.build import Build, observed, run_build
from transform.settings import RulesSettings

KILLS = 12
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["transform.build"])


def grow(shop: Shop, minute: int) -> None:
    """Let the shop live: an order more, another one edited and moved, a buyer renamed."""
    new, edited = 100 + minute, 1 + minute % 5
    shop.see(
        "bronze.order_products",
        "order_id | position | product_id | price | fetched_at\n"
        f"{new} | 1 | 7 | {minute}.10 | {look(minute)}\n{edited} | 1 | 8 | {minute}.20 | {look(minute)}",
    )
    shop.see(
        "bronze.orders",
        "id | ordered_at | source_id | buyer_id | status_id | grand_total | fetched_at\n"
        f"{new} | 2026-0{5 + minute % 4}-20 10:00 | 4 | 31 | 12 | {minute}.10 | {look(minute)}\n"
        f"{edited} | 2026-0{5 + minute % 3}-21 10:00 | 1 | 31 | 12 | {minute}.20 | {look(minute)}",
    )
    shop.see("bronze.buyers", f"id | full_name | fetched_at\n31 | Оксана {minute} | {look(minute)}")


def build_until(shop: Shop, commits: int) -> None:
    """Build, in a process that is killed once it has made so many commits."""
    left = iter(range(1, commits))

    def kill(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if event["event"] == "transform.committed" and next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return event

    structlog.configure(processors=[kill, structlog.processors.KeyValueRenderer()])
    shop.build()


def start(target: Callable[..., object], *arguments: object, **named: object) -> Any:
    """Start a process of its own."""
    child = CHILDREN.Process(target=target, args=arguments, kwargs=named)
    child.start()
    return child


def heads_read_as_released(shop: Shop) -> bool:
    """True where somebody who reads the heads of silver and gold sees the release."""
    release = current_release(shop.lake)
    assert release
    return {name: open_table(shop.lake, name).read().to_pylist() for name in release.tables} == {
        name: open_table(shop.lake, name, at).read().to_pylist() for name, at in release.tables.items()
    }


def test_a_head_ahead_of_its_release_is_brought_back(shop: Shop) -> None:
    """Though nothing new was ingested; readers never saw it."""
    shown = shop.read()
    for name in ("gold.revenue_daily", "silver.buyers"):
        table = open_table(shop.lake, name)
        table.replace(table.read().slice(0, 0))
    assert shop.read() == shown
    assert not heads_read_as_released(shop)
    assert shop.build() is None
    assert heads_read_as_released(shop)
    before = shop.heads()
    assert shop.build() is None
    assert shop.heads() == before


def test_what_a_crash_left_is_in_no_later_release(shop: Shop, tmp_path: Path) -> None:
    """Half a month committed by hand, then a build that changes another month."""
    table = open_table(shop.lake, "gold.revenue_daily")
    table.replace(table.read().slice(0, 1))
    grow(shop, 1)
    shop.published()
    assert shop.read() == shop.built_anew(tmp_path / "anew").read()
    assert heads_read_as_released(shop)


def test_a_first_build_killed_between_commits_leaves_nothing_that_is_read(tmp_path: Path) -> None:
    """There is no release to go back to: the next build replaces whatever there is."""
    shop = opened(tmp_path / "lake")
    child = start(build_until, shop, 9)
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert current_release(shop.lake) is None
    assert shop.lake.tables("silver")
    assert shop.published().release == 1
    assert heads_read_as_released(shop)


@pytest.mark.parametrize("commits", [1, 5, 9])
def test_a_build_killed_after_a_commit_is_as_if_it_had_not_been(
    shop: Shop, tmp_path: Path, commits: int
) -> None:
    """After the first table, in the middle, and after the last with the release still to come."""
    shown = shop.read()
    grow(shop, 1)
    child = start(build_until, shop, commits)
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert shop.read() == shown
    assert not heads_read_as_released(shop)
    release = shop.published()
    assert len({move.table for move in release.moved}) == 9
    assert heads_read_as_released(shop)
    assert shop.read(1) == shown
    assert shop.read() == shop.built_anew(tmp_path / "anew").read()


def test_builds_killed_at_random_moments_converge(shop: Shop, tmp_path: Path) -> None:
    """Each round the shop goes on living; every release that was published reads the same to the end."""
    chance = random.Random(7)
    building = {"engine": ENGINE, "rules": RulesSettings(), "models": MODELS}
    grow(shop, 1)
    since = time.monotonic()
    start(run_build, shop.lake, **building).join()
    whole = time.monotonic() - since
    kept = {number: shop.read(number) for number in shop.releases()}
    assert kept.keys() == {1, 2}
    for minute in range(2, 2 + KILLS):
        grow(shop, minute)
        child = start(run_build, shop.lake, **building)
        child.join(chance.uniform(0.1, 1.1) * whole)
        child.kill()
        child.join()
        newest = shop.releases()[0]
        assert kept.setdefault(newest, shop.read()) == shop.read(newest)
    shop.build()
    assert {number: shop.read(number) for number in kept} == kept
    assert sorted(shop.releases()) == list(range(1, len(shop.releases()) + 1))
    assert shop.read() == shop.built_anew(tmp_path / "anew").read()
    assert heads_read_as_released(shop)


def prepared(shop: Shop) -> tuple[Build, Any]:
    """Return a build that is ready to commit, and what it would."""
    build = Build(shop.lake, ENGINE, RulesSettings(), MODELS)
    return build, build.changes(build.candidates())


def test_a_rival_that_committed_first_is_a_conflict(shop: Shop, tmp_path: Path) -> None:
    """What was computed from an older moment is not laid over a newer one, published or not."""
    grow(shop, 1)
    slow, of_slow = prepared(shop)
    grow(shop, 2)
    quick, of_quick = prepared(shop)
    quick.commit(of_quick)
    with pytest.raises(CommitConflict, match="nothing was written"):
        slow.commit(of_slow)
    shop.published()
    assert shop.read() == shop.built_anew(tmp_path / "anew").read()
    assert heads_read_as_released(shop)


def test_a_rival_that_published_first_is_a_conflict(shop: Shop, tmp_path: Path) -> None:
    """Also where the two would write different tables."""
    shop.see("bronze.offers", f"id | product_id | quantity | fetched_at\n 70 | 7 | 5 | {look(1)}")
    slow, of_slow = prepared(shop)
    grow(shop, 2)
    shop.published()
    shown = shop.read()
    with pytest.raises(CommitConflict):
        slow.commit(of_slow)
    assert shop.build() is None
    assert shop.read() == shown == shop.built_anew(tmp_path / "anew").read()


@pytest.mark.parametrize("is_first", [True, False])
def test_of_two_builders_at_once_one_publishes(first_release: Shop, tmp_path: Path, is_first: bool) -> None:
    """The other meets a conflict, or finds nothing left to do; the lake is as one of them built it."""
    shop = (
        first_release.copy(tmp_path / "lake", "bronze") if is_first else first_release.copy(tmp_path / "lake")
    )
    grow(shop, 1)
    together = threading.Barrier(2)
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
    assert shop.read() == shop.built_anew(tmp_path / "anew").read()
    shop.build()
    assert heads_read_as_released(shop)


@pytest.fixture
def growing(shop: Shop) -> Iterator[threading.Thread]:
    """An ingest under way beside the test."""

    def ingest() -> None:
        for minute in range(1, 16):
            grow(shop, minute)

    # Between the lines and the orders in the alphabet: a look at all tables takes its time.
    for number in range(30):
        create_table(shop.lake, f"bronze.order_products_{number}", Contract.of({"id": "BIGINT"}).schema)
    thread = threading.Thread(target=ingest)
    thread.start()
    yield thread
    thread.join()


def test_no_order_is_seen_without_its_lines_while_an_ingest_runs(
    shop: Shop, growing: threading.Thread
) -> None:
    """An order is committed after its lines, so it is looked at before them."""
    connection = connect(ENGINE)
    while growing.is_alive():
        versions = observed(shop.lake)
        for name in ("orders", "order_products"):
            at = versions[f"bronze.{name}"]
            create_view(connection, name, open_table(shop.lake, f"bronze.{name}", at))
        without = connection.execute(
            "select o.id from orders as o"
            " anti join order_products as l on l.order_id = o.id and l.fetched_at = o.fetched_at"
            " where o.id <> 6"
        ).fetchall()
        assert without == []
