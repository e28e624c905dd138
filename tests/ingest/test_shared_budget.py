"""Real processes with one budget, measured by the shop's own count.

A minute is long for a test, so it begins when most of a minute is over: earlier requests are in
the budget's file and in the shop's count, and leave both one by one.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from ingest.budget import MARGIN, Budget, budget_file
from ingest.sandbox.budget import Budget as ShopBudget
from ingest.sandbox.command import TEST_KEY, ThreadedShop, serving
from ingest.sandbox.running import RunningShop
from ingest.sandbox.settings import Sandbox
from ingest.sandbox.tally import Counts
from ingest.shared_file import lock_of
from lake.ledgers.runs import Run, list_runs
from lake.lock import locked
from lake.paths import Lake
from tests.support.running import environ_of, launched, run, succeed
from tests.support.shop_edits import pass_time

PER_MINUTE = 300
TINY = Sandbox(port=0, days=12, orders_per_day=20, day_seconds=0, requests_per_minute=0)


@pytest.fixture
def tiny() -> Iterator[ThreadedShop]:
    """A shop whose full load takes some sixty requests."""
    with serving(TINY) as running:
        yield running


def even(first: float, last: float, count: int) -> list[float]:
    """Return this many evenly spaced numbers from the first to the last."""
    return [first + (last - first) * number / (count - 1) for number in range(count)]


def limit_requests(
    shop: ThreadedShop,
    stamps: Sequence[float],
    *,
    per_minute: int = PER_MINUTE,
    window: Literal["sliding", "fixed"] = "sliding",
) -> None:
    """Let the shop allow so many requests a minute from now on, of which these are spent."""

    def count(running: RunningShop) -> None:
        running.shop._budget = ShopBudget(per_minute, window=window)
        running.shop.tally.reset()
        for stamp in stamps:
            running.shop.tally.arrived("/before", stamp)
            assert running.shop._budget.spend(f"Bearer {TEST_KEY}", stamp).allowed

    shop.call(count)


def wait_for_lock(child: "subprocess.Popen[str]") -> None:
    """Read what a process logs until it waits for a lock; then let a thread read the rest."""
    assert child.stderr
    assert any("lake.waits" in line for line in child.stderr), "it did not wait"
    threading.Thread(target=child.stderr.read, daemon=True).start()


def counts_of(shop: ThreadedShop) -> Counts:
    """Return the shop's counts."""
    return shop.call(lambda running: running.shop.tally.counts())


def newest(lake: Lake, kind: str) -> Run:
    """Return the receipt of the last run of a kind."""
    return next(run for run in list_runs(lake) if run.kind == kind)


def test_a_full_load_and_a_sync_keep_to_one_budget_and_the_sync_goes_first(
    tiny: ThreadedShop, lake: Lake, tmp_path: Path
) -> None:
    """If both wait for places that become free one by one, the shop never counts more than it allows."""
    succeed(environ_of(lake, tiny.url, KEYLAKE_SOURCE_BUDGET_FOLDER=str(tmp_path / "own")), "ingest", "full")
    pass_time(tiny, days=1)
    folder = str(tmp_path / "shared")
    environ = environ_of(
        lake,
        tiny.url,
        KEYLAKE_SOURCE_BUDGET_FOLDER=folder,
        KEYLAKE_SOURCE_REQUESTS_PER_MINUTE=str(PER_MINUTE),
    )
    clock: Iterator[float] = iter(())
    file = budget_file(folder, base_url=tiny.url, key=TEST_KEY)
    budget = Budget(file, requests=PER_MINUTE, clock=lambda: next(clock))
    command = [sys.executable, "-m", "ingest"]
    quiet: dict[str, Any] = {"env": environ, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with (
        ExitStack() as running,
        locked(lock_of(file), seconds=1),
    ):  # neither process reads the budget before both wait for it
        children = [
            running.enter_context(launched([*command, kind], **quiet)) for kind in ("full", "incremental")
        ]
        for child in children:
            wait_for_lock(child)
        began = time.monotonic()
        coming_free = even(began + 2.5, began + 8.5, 80)
        stamps = [moment - 60 - MARGIN for moment in coming_free] + [began - 30] * (PER_MINUTE - 80)
        limit_requests(tiny, stamps)
        clock = iter(stamps)
        assert [budget.take() for _ in stamps] == [0.0] * len(stamps)
    assert [child.returncode for child in children] == [0, 0]
    full, sync = newest(lake, "full"), newest(lake, "incremental")
    counts = counts_of(tiny)
    assert (counts.refused, full.retries, sync.retries) == (0, 0, 0)
    assert counts.requests == PER_MINUTE + full.requests + sync.requests
    assert counts.most_in_a_minute <= PER_MINUTE
    assert sync.finished_at < full.finished_at
    # No request is sent before the first place is free; then they are sent one by one.
    for done in (full, sync):
        assert 0 < done.waited_seconds <= (done.finished_at - done.started_at).total_seconds()
    assert full.waited_seconds > full.requests * 6 / 80 / 2


@pytest.mark.parametrize("header", ["missing", "zero"])
def test_a_429_without_a_time_is_waited_out(
    header: Literal["missing", "zero"], lake: Lake, tmp_path: Path
) -> None:
    """If the shop allows less than the budget and counts a fixed minute, the load still completes."""
    with serving(msgspec.structs.replace(TINY, retry_after=header)) as shop:
        environ = environ_of(lake, shop.url, KEYLAKE_SOURCE_BACKOFF_SECONDS="0.1")
        limit_requests(
            shop, even(time.monotonic() - 55, time.monotonic(), 100), per_minute=100, window="fixed"
        )
        done = run(environ, "ingest", "full")
        counts = counts_of(shop)
    assert done.returncode == 0, done.stderr
    assert "reason=" in done.stderr
    assert 1 <= counts.refused < 12
    receipt = newest(lake, "full")
    assert (receipt.verdict, receipt.retries) == ("complete", counts.refused)
    assert receipt.waited_seconds < 10
