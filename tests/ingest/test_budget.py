"""Budget and limiter: all processes together use the budget of each minute, and never exceed it."""

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
from ingest.protocol import LONGEST_RETRY_AFTER


class Time:
    """A clock that moves only during a sleep."""

    def __init__(self) -> None:
        self.now = 1000.0

    def clock(self) -> float:
        """Return the seconds since its start."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let this many seconds pass."""
        self.now += seconds


@contextmanager
def limiter(time: Time, requests: int, *, folder: str | None = None, rank: int = 0) -> Iterator[Limiter]:
    """Open a limiter on this clock."""
    with TemporaryDirectory() as own:
        file = Path(folder or own) / "budget.sqlite"
        budget = Budget(file, requests=requests, rank=rank, clock=time.clock)
        line = Limiter(budget, clock=time.clock, sleep=time.sleep)
        yield line
        line.close()


async def sends(line: Limiter, time: Time, gaps: Sequence[float]) -> list[float]:
    """Ask for places in turn, with these gaps; return when each was granted."""
    granted_at = []
    for gap in gaps:
        time.now += gap
        await line.acquire()
        granted_at.append(time.now)
    return granted_at


def most_in_a_minute(times: Sequence[float]) -> int:
    """Return the greatest number of sends in any 60 s."""
    return max(sum(since <= time < since + 60 for time in times) for since in times)


@given(requests=st.integers(1, 20), gaps=st.lists(st.floats(0, 30), min_size=1, max_size=100))
def test_no_minute_exceeds_the_budget(requests: int, gaps: list[float]) -> None:
    """The budget is kept in any rhythm of requests."""
    time = Time()
    with limiter(time, requests) as line:
        assert most_in_a_minute(asyncio.run(sends(line, time, gaps))) <= requests


def test_a_busy_hour_uses_the_whole_budget() -> None:
    """After a burst of 60, each minute has 60 requests less the margin: over 98 % of the budget."""
    time = Time()
    with limiter(time, 60) as line:
        times = asyncio.run(sends(line, time, [0.0] * 3600))
        assert line.waited == times[-1] - 1000
    assert times[59] == 1000
    assert times[60] == pytest.approx(1060 + MARGIN)
    assert sum(moment < 4600 for moment in times) >= 0.98 * 3600


@given(turns=st.lists(st.tuples(st.integers(0, 2), st.floats(0, 10)), min_size=1, max_size=80))
def test_processes_share_one_budget(turns: list[tuple[int, float]]) -> None:
    """Three processes together keep the budget in any interleaving."""
    time = Time()
    times = []
    with (
        TemporaryDirectory() as folder,
        limiter(time, 7, folder=folder) as one,
        limiter(time, 7, folder=folder, rank=1) as two,
        limiter(time, 7, folder=folder, rank=2) as three,
    ):
        for who, gap in turns:
            times += asyncio.run(sends((one, two, three)[who], time, [gap]))
    assert most_in_a_minute(times) <= 7


async def send(line: Limiter, time: Time, seconds: float) -> float:
    """Send a request that is answered after so many seconds; return when its place was granted."""
    async with line.slot():
        granted_at = time.now
        await time.sleep(seconds)
    return granted_at


def test_a_late_answer_occupies_its_place_longer() -> None:
    """If an answer is late, the CRM may have counted the request just before it."""
    time = Time()
    with limiter(time, 2) as line:
        granted = [asyncio.run(send(line, time, seconds)) for seconds in (5, 0.1, 0.1, 0.1)]
    assert granted[:2] == [1000, 1005]
    assert granted[2] >= 1005 + 60
    assert granted[3] >= 1005 + 60


def test_a_lost_request_occupies_its_place_longer() -> None:
    """If a request times out, the CRM may have counted it at any time until then."""

    async def lose(line: Limiter) -> None:
        with suppress(TimeoutError):
            async with line.slot():
                await time.sleep(30)
                raise TimeoutError

    time = Time()
    with limiter(time, 1) as line:
        asyncio.run(lose(line))
        assert asyncio.run(send(line, time, 0.1)) >= 1030 + 60


def used_share(seed: int, *, announced: int) -> float:
    """Return the share of a budget of 300 that a load uses after the first minute, with random stalls."""
    time, dice = Time(), random.Random(seed)

    def gaps() -> Iterator[float]:
        for _ in range(3000):
            yield 0.06 + (2.0 if dice.random() < 1 / 60 else 0.0)

    with limiter(time, 300) as line:
        line.pace(announced)
        times = asyncio.run(sends(line, time, list(gaps())))
    spans = [after - before for before, after in zip(times[300:], times[600:], strict=False)]
    return 60 * len(spans) / sum(spans)


@pytest.mark.parametrize("seed", range(3))
def test_a_long_load_makes_up_for_delays(seed: int) -> None:
    """An even start leaves time to spare between places; a burst repeated each minute leaves none."""
    assert used_share(seed, announced=3000) >= 0.98
    assert used_share(seed, announced=1) < 0.98


def test_a_long_load_begins_evenly_and_a_short_one_in_a_burst() -> None:
    """If a load is long, a sync finds a free place at any moment of it."""
    for requests, seconds in ((600, 0.0), (601, 60 + MARGIN)):
        time = Time()
        with limiter(time, 300) as line:
            line.pace(requests)
            times = asyncio.run(sends(line, time, [0.0] * 300))
        assert times[-1] - 1000 == pytest.approx(seconds * 299 / 300)


class TimedBudget:
    """A budget whose clock a test sets for each call."""

    def __init__(self, folder: Path, *, requests: int, rank: int = 0) -> None:
        self.now = 0.0
        self.budget = Budget(folder / "budget.sqlite", requests=requests, rank=rank, clock=lambda: self.now)

    def take(self, now: float) -> float:
        """Ask for a place at this time."""
        self.now = now
        return self.budget.take()

    def record_answer(self, now: float, taken_at: float) -> None:
        """Record at this time that a request sent earlier was answered."""
        self.now = now
        self.budget.record_answer(taken_at)

    def pause(self, now: float, seconds: float) -> None:
        """Ask for a pause at this time."""
        self.now = now
        self.budget.pause(seconds)


def counted_at(folder: Path, answers: Sequence[tuple[float, float]], *, at_once: int) -> list[float]:
    """Return when the CRM counted each request, of a budget of 5, with ``at_once`` requests under way.

    An answer has its duration in seconds, and the share of it after which the request is counted.
    """
    line = TimedBudget(folder, requests=5)
    counted: list[float] = []
    under_way: list[tuple[float, float]] = []
    now = 1000.0
    for seconds, share in answers:
        while len(under_way) == at_once or (wait := line.take(now)) > 0:
            ends = under_way[0][0] if under_way else math.inf
            now = max(now, ends if len(under_way) == at_once else min(ends, now + wait))
            while under_way and under_way[0][0] <= now:
                line.record_answer(*heapq.heappop(under_way))
        heapq.heappush(under_way, (now + seconds, now))
        counted.append(now + seconds * share)
    return counted


@given(
    answers=st.lists(st.tuples(st.floats(0, 59), st.floats(0, 1)), min_size=1, max_size=40),
    at_once=st.integers(1, 8),
)
def test_the_crm_never_counts_more_than_the_budget(answers: list[tuple[float, float]], at_once: int) -> None:
    """The CRM may count a request at any moment until its answer, however long that takes."""
    with TemporaryDirectory() as folder:
        assert most_in_a_minute(counted_at(Path(folder), answers, at_once=at_once)) <= 5


@pytest.mark.parametrize("seed", range(8))
def test_late_answers_do_not_exceed_the_budget(tmp_path: Path, seed: int) -> None:
    """The budget is kept if one answer in ten takes up to 9 s and the others 0.1 s."""
    dice = random.Random(seed)
    answers = [(dice.uniform(2, 9) if dice.random() < 0.1 else 0.1, dice.random()) for _ in range(100)]
    assert most_in_a_minute(counted_at(tmp_path, answers, at_once=8)) <= 5


@pytest.mark.parametrize("seconds", [0.25, 0.5, 1.2])
def test_slow_answers_leave_no_budget_unused(seconds: float) -> None:
    """Over 98 % of the places are used with answers of 0.25 to 1.2 s."""
    time = Time()
    with limiter(time, 20) as line:
        times = [asyncio.run(send(line, time, seconds)) for _ in range(200)]
    spans = [after - before for before, after in zip(times[40:], times[60:], strict=False)]
    assert 60 * len(spans) / sum(spans) >= 0.98


def test_the_shorter_job_goes_first(tmp_path: Path) -> None:
    """If a sync and a full load both wait, the sync takes the next free place."""
    full, sync = TimedBudget(tmp_path, requests=2, rank=2), TimedBudget(tmp_path, requests=2, rank=0)
    assert [full.take(1000), full.take(1001)] == [0, 0]
    assert sync.take(1002) == pytest.approx(58 + MARGIN)
    free = 1060 + MARGIN + 0.01
    assert full.take(free) > 0
    assert sync.take(free) == 0
    assert full.take(1061 + MARGIN + 0.01) == 0


def test_the_claim_of_a_killed_job_expires(tmp_path: Path) -> None:
    """No process waits for a killed one."""
    killed, full = TimedBudget(tmp_path, requests=1, rank=0), TimedBudget(tmp_path, requests=1, rank=2)
    killed.take(1000)
    assert killed.take(1001) > 0
    assert full.take(1063) == 0


def test_a_pause_stops_every_process(tmp_path: Path) -> None:
    """A 429 applies to all processes that use the key."""
    TimedBudget(tmp_path, requests=60).pause(1000, 7)
    other = TimedBudget(tmp_path, requests=60)
    assert other.take(1000) == 7
    assert other.take(1007) == 0


def test_entries_before_a_restart_of_the_machine_are_dropped(tmp_path: Path) -> None:
    """Entries of the time before a restart lie in the future and block no process."""
    before = TimedBudget(tmp_path, requests=1)
    before.take(500_000)
    assert before.take(500_001) > 0
    before.pause(500_000, 100_000)
    assert TimedBudget(tmp_path, requests=1, rank=2).take(10) == 0


@pytest.mark.parametrize("up_for", [10, 400_000, 499_000])
def test_a_claim_before_a_restart_delays_no_process(tmp_path: Path, up_for: float) -> None:
    """A claim further ahead than any place can be is dropped, however long the machine has been up."""
    before = TimedBudget(tmp_path, requests=1)
    before.take(500_000)
    assert before.take(500_001) > 0
    assert TimedBudget(tmp_path, requests=1, rank=2).take(up_for) == 0


def test_a_pause_is_never_longer_than_the_longest_patience(tmp_path: Path) -> None:
    """A pause is limited, and so is one that an earlier clock left behind."""
    full = TimedBudget(tmp_path, requests=60)
    full.pause(1000, 86_400)
    assert full.take(1000) == LONGEST_RETRY_AFTER
    full.pause(50_000, 200)
    assert TimedBudget(tmp_path, requests=60).take(1000 + LONGEST_RETRY_AFTER) == 0


def test_each_key_has_its_own_budget_and_is_not_in_its_name(tmp_path: Path) -> None:
    """Two accounts do not wait for each other, and the key can't be read from the file name."""
    one = budget_file(str(tmp_path), base_url="https://crm/v1", key="secret")
    assert one == budget_file(str(tmp_path), base_url="https://crm/v1", key="secret")
    assert one != budget_file(str(tmp_path), base_url="https://crm/v1", key="other")
    assert "secret" not in str(one)


@pytest.mark.parametrize(
    "url", ["https://CRM.example/v1", "https://crm.example/v1/", "HTTPS://crm.Example/v1//"]
)
def test_all_spellings_of_an_address_share_one_budget(tmp_path: Path, url: str) -> None:
    """Upper case in the host and a slash at the end name the same CRM; another path does not."""
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
    """If four processes wait for the same moment, no span has more requests than the budget."""
    command = [sys.executable, "-c", TAKER, str(tmp_path / "budget.sqlite")]
    takers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    sent = sorted(float(stamp) for taker in takers for stamp in taker.communicate()[0].split())
    assert len(sent) == 160
    assert max(sum(since <= at < since + 0.5 for at in sent) for since in sent) <= 40
