"""Budget and limiter: never more than allowed in any minute, whoever asks, and never less."""

import asyncio
import heapq
import math
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.budget import MARGIN, Budget, budget_file
from ingest.limiter import Limiter
from ingest.protocol import LONGEST_PATIENCE


class Time:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def clock(self) -> float:
        """Return the seconds since it began."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.now += seconds


@contextmanager
def limiter(time: Time, requests: int, *, folder: str | None = None, rank: int = 0) -> Iterator[Limiter]:
    """Open a limiter on this clock."""
    with TemporaryDirectory() as own:
        file = Path(folder or own) / "budget.sqlite"
        budget = Budget(file, requests=requests, rank=rank, clock=time.clock)
        found = Limiter(budget, clock=time.clock, sleep=time.sleep)
        yield found
        found.close()


async def sends(found: Limiter, time: Time, gaps: Sequence[float]) -> list[float]:
    """Ask for one place after another, so far apart; return when each was given."""
    given_at = []
    for gap in gaps:
        time.now += gap
        await found.acquire()
        given_at.append(time.now)
    return given_at


def most_in_a_minute(found: Sequence[float]) -> int:
    """Return the most sends that any 60 s hold."""
    return max(sum(since <= at < since + 60 for at in found) for since in found)


@given(requests=st.integers(1, 20), gaps=st.lists(st.floats(0, 30), min_size=1, max_size=100))
def test_no_minute_ever_holds_more_than_the_budget(requests: int, gaps: list[float]) -> None:
    """Whatever the rhythm of asking."""
    time = Time()
    with limiter(time, requests) as found:
        assert most_in_a_minute(asyncio.run(sends(found, time, gaps))) <= requests


def test_a_busy_hour_uses_the_whole_budget() -> None:
    """Sixty at once, then sixty each minute but for the margin: over 98 %."""
    time = Time()
    with limiter(time, 60) as line:
        found = asyncio.run(sends(line, time, [0.0] * 3600))
        assert line.waited == found[-1] - 1000
    assert found[59] == 1000
    assert found[60] == pytest.approx(1060 + MARGIN)
    assert sum(at < 4600 for at in found) >= 0.98 * 3600


@given(turns=st.lists(st.tuples(st.integers(0, 2), st.floats(0, 10)), min_size=1, max_size=80))
def test_processes_share_one_budget(turns: list[tuple[int, float]]) -> None:
    """Three of them, in any interleaving, are one for the CRM."""
    time = Time()
    found = []
    with (
        TemporaryDirectory() as folder,
        limiter(time, 7, folder=folder) as one,
        limiter(time, 7, folder=folder, rank=1) as two,
        limiter(time, 7, folder=folder, rank=2) as three,
    ):
        for who, gap in turns:
            found += asyncio.run(sends((one, two, three)[who], time, [gap]))
    assert most_in_a_minute(found) <= 7


async def send(line: Limiter, time: Time, seconds: float) -> float:
    """Send a request that is answered after so many seconds; return when it was given its place."""
    async with line.place():
        given_at = time.now
        await time.sleep(seconds)
    return given_at


def test_a_request_counted_late_holds_its_place_for_longer() -> None:
    """A name looked up slowly: the CRM may have counted it just before it answered."""
    time = Time()
    with limiter(time, 2) as line:
        found = [asyncio.run(send(line, time, seconds)) for seconds in (5, 0.1, 0.1, 0.1)]
    assert found[:2] == [1000, 1005]
    assert found[2] >= 1005 + 60
    assert found[3] >= 1005 + 60


def test_a_request_that_is_lost_holds_its_place_for_longer() -> None:
    """It timed out: the CRM may have counted it at any time until then."""

    async def lose(line: Limiter) -> None:
        with suppress(TimeoutError):
            async with line.place():
                await time.sleep(30)
                raise TimeoutError

    time = Time()
    with limiter(time, 1) as line:
        asyncio.run(lose(line))
        assert asyncio.run(send(line, time, 0.1)) >= 1030 + 60


def used(seed: int, *, begins_with: int) -> float:
    """Return the share of a budget of 300 that a load uses once it is full, stalling now and then."""
    time, dice = Time(), random.Random(seed)

    def gaps() -> Iterator[float]:
        for _ in range(3000):
            yield 0.06 + (2.0 if dice.random() < 1 / 60 else 0.0)

    with limiter(time, 300) as line:
        line.begin(begins_with)
        found = asyncio.run(sends(line, time, list(gaps())))
    spans = [after - before for before, after in zip(found[300:], found[600:], strict=False)]
    return 60 * len(spans) / sum(spans)


@pytest.mark.parametrize("seed", range(3))
def test_a_long_load_makes_up_for_what_is_late(seed: int) -> None:
    """It begins evenly, so each place has time to spare; a burst that comes back each minute has none."""
    assert used(seed, begins_with=3000) >= 0.98
    assert used(seed, begins_with=1) < 0.98


def test_a_long_load_begins_evenly_and_a_short_one_at_once() -> None:
    """What a sync needs is there at any moment of a long load."""
    for requests, seconds in ((600, 0.0), (601, 60 + MARGIN)):
        time = Time()
        with limiter(time, 300) as line:
            line.begin(requests)
            found = asyncio.run(sends(line, time, [0.0] * 300))
        assert found[-1] - 1000 == pytest.approx(seconds * 299 / 300)


class At:
    """A budget of which a test says the time at each look."""

    def __init__(self, folder: Path, *, requests: int, rank: int = 0) -> None:
        self.now = 0.0
        self.budget = Budget(folder / "budget.sqlite", requests=requests, rank=rank, clock=lambda: self.now)

    def take(self, now: float) -> float:
        """Ask for a place at this time."""
        self.now = now
        return self.budget.take()

    def answered(self, now: float, taken_at: float) -> None:
        """Say at this time that what was sent then is answered."""
        self.now = now
        self.budget.answered(taken_at)

    def pause(self, now: float, seconds: float) -> None:
        """Ask for patience at this time."""
        self.now = now
        self.budget.pause(seconds)


def counted_at(folder: Path, answers: Sequence[tuple[float, float]], *, at_once: int) -> list[float]:
    """Return when the CRM counted each request, of a budget of 5, with so many under way at once.

    An answer is the seconds it takes, and the share of them after which its request is counted.
    """
    line = At(folder, requests=5)
    counted: list[float] = []
    under_way: list[tuple[float, float]] = []
    now = 1000.0
    for seconds, share in answers:
        while len(under_way) == at_once or (wait := line.take(now)) > 0:
            ends = under_way[0][0] if under_way else math.inf
            now = max(now, ends if len(under_way) == at_once else min(ends, now + wait))
            while under_way and under_way[0][0] <= now:
                line.answered(*heapq.heappop(under_way))
        heapq.heappush(under_way, (now + seconds, now))
        counted.append(now + seconds * share)
    return counted


@given(
    answers=st.lists(st.tuples(st.floats(0, 59), st.floats(0, 1)), min_size=1, max_size=40),
    at_once=st.integers(1, 8),
)
def test_the_crm_never_counts_more_than_the_budget_whenever_it_counts(
    answers: list[tuple[float, float]], at_once: int
) -> None:
    """At once, just before it answers, or at any moment between, however long that takes."""
    with TemporaryDirectory() as folder:
        assert most_in_a_minute(counted_at(Path(folder), answers, at_once=at_once)) <= 5


@pytest.mark.parametrize("seed", range(8))
def test_the_crm_counts_no_more_than_the_budget_where_some_are_late(tmp_path: Path, seed: int) -> None:
    """One answer in ten takes up to 9 s, the others are there at once."""
    dice = random.Random(seed)
    answers = [(dice.uniform(2, 9) if dice.random() < 0.1 else 0.1, dice.random()) for _ in range(100)]
    assert most_in_a_minute(counted_at(tmp_path, answers, at_once=8)) <= 5


@pytest.mark.parametrize("seconds", [0.25, 0.5, 1.2])
def test_answers_as_slow_as_the_crms_leave_the_budget_used(seconds: float) -> None:
    """Over 98 % of the places, from a small page to one of orders with all their includes."""
    time = Time()
    with limiter(time, 20) as line:
        found = [asyncio.run(send(line, time, seconds)) for _ in range(200)]
    spans = [after - before for before, after in zip(found[40:], found[60:], strict=False)]
    assert 60 * len(spans) / sum(spans) >= 0.98


def test_the_shorter_job_goes_first(tmp_path: Path) -> None:
    """A sync that waits takes the next free place before a full load that waits as well."""
    full, sync = At(tmp_path, requests=2, rank=2), At(tmp_path, requests=2, rank=0)
    assert [full.take(1000), full.take(1001)] == [0, 0]
    assert sync.take(1002) == pytest.approx(58 + MARGIN)
    free = 1060 + MARGIN + 0.01
    assert full.take(free) > 0
    assert sync.take(free) == 0
    assert full.take(1061 + MARGIN + 0.01) == 0


def test_a_killed_jobs_claim_passes(tmp_path: Path) -> None:
    """Nobody waits for a process that is gone."""
    killed, full = At(tmp_path, requests=1, rank=0), At(tmp_path, requests=1, rank=2)
    killed.take(1000)
    assert killed.take(1001) > 0
    assert full.take(1063) == 0


def test_a_pause_holds_every_process(tmp_path: Path) -> None:
    """The CRM's patience is the key's, not the process's."""
    At(tmp_path, requests=60).pause(1000, 7)
    other = At(tmp_path, requests=60)
    assert other.take(1000) == 7
    assert other.take(1007) == 0


def test_after_a_restart_of_the_machine_the_clock_begins_anew(tmp_path: Path) -> None:
    """Entries of the time before lie in the future, and block nobody."""
    before = At(tmp_path, requests=1)
    before.take(500_000)
    assert before.take(500_001) > 0
    before.pause(500_000, 100_000)
    assert At(tmp_path, requests=1, rank=2).take(10) == 0


@pytest.mark.parametrize("up_for", [10, 400_000, 499_000])
def test_a_claim_of_before_the_restart_holds_nobody_up(tmp_path: Path, up_for: float) -> None:
    """A claim further ahead than any place can be is nobody's, however long the machine is up again."""
    before = At(tmp_path, requests=1)
    before.take(500_000)
    assert before.take(500_001) > 0
    assert At(tmp_path, requests=1, rank=2).take(up_for) == 0


def test_a_pause_is_never_longer_than_the_longest_patience(tmp_path: Path) -> None:
    """Neither one that is asked for, nor one that a clock of before left behind."""
    full = At(tmp_path, requests=60)
    full.pause(1000, 86_400)
    assert full.take(1000) == LONGEST_PATIENCE
    full.pause(50_000, 200)
    assert At(tmp_path, requests=60).take(1000 + LONGEST_PATIENCE) == 0


def test_each_key_has_a_budget_of_its_own_and_is_not_in_its_name(tmp_path: Path) -> None:
    """Two accounts do not wait for each other."""
    one = budget_file(str(tmp_path), base_url="https://crm/v1", key="secret")
    assert one == budget_file(str(tmp_path), base_url="https://crm/v1", key="secret")
    assert one != budget_file(str(tmp_path), base_url="https://crm/v1", key="other")
    assert "secret" not in str(one)


@pytest.mark.parametrize(
    "url", ["https://CRM.example/v1", "https://crm.example/v1/", "HTTPS://crm.Example/v1//"]
)
def test_one_address_written_in_several_ways_is_one_budget(tmp_path: Path, url: str) -> None:
    """The host's letters and a slash at the end make no other CRM; another path does."""
    plain = budget_file(str(tmp_path), base_url="https://crm.example/v1", key="secret")
    assert budget_file(str(tmp_path), base_url=url, key="secret") == plain
    assert budget_file(str(tmp_path), base_url="https://crm.example/V1", key="secret") != plain


TAKER = """
import sys, time
from pathlib import Path
from ingest.budget import Budget
budget = Budget(Path(sys.argv[1]), requests=40, per=0.5)
sent = []
while len(sent) < 40:
    wait = budget.take()
    if wait == 0:
        sent.append(time.monotonic())
    else:
        time.sleep(wait)
print(*sent)
"""


def test_real_processes_never_overspend_by_the_real_clock(tmp_path: Path) -> None:
    """Four at once, all waiting for the same moment: no span holds more than the budget."""
    command = [sys.executable, "-c", TAKER, str(tmp_path / "budget.sqlite")]
    takers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    sent = sorted(float(stamp) for taker in takers for stamp in taker.communicate()[0].split())
    assert len(sent) == 160
    assert max(sum(since <= at < since + 0.5 for at in sent) for since in sent) <= 40
