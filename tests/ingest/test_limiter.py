"""Limiter: never more than the budget in any minute, and never less than it allows."""

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from ingest.limiter import MARGIN, Limiter


class Time:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        """Return the seconds since it began."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.now += seconds


async def sends(limiter: Limiter, time: Time, gaps: Sequence[float]) -> list[float]:
    """Ask for one place after another, so far apart; return when each was given."""
    given_at = []
    for gap in gaps:
        time.now += gap
        await limiter.acquire()
        given_at.append(time.now)
    return given_at


@given(budget=st.integers(1, 20), gaps=st.lists(st.floats(0, 30), min_size=1, max_size=100))
def test_no_minute_ever_holds_more_than_the_budget(budget: int, gaps: list[float]) -> None:
    """Whatever the rhythm of asking."""
    time = Time()
    limiter = Limiter(budget, clock=time.clock, sleep=time.sleep)
    found = asyncio.run(sends(limiter, time, gaps))
    for place, since in enumerate(found):
        assert sum(since <= at < since + 60 for at in found[place:]) <= budget


def test_a_busy_hour_uses_the_whole_budget() -> None:
    """Sixty at once, then sixty each minute but for the margin: over 98 %."""
    time = Time()
    limiter = Limiter(60, clock=time.clock, sleep=time.sleep)
    found = asyncio.run(sends(limiter, time, [0.0] * 3600))
    assert found[59] == 0.0
    assert sum(at < 3600 for at in found) >= 0.98 * 3600
    assert found[60] == 60 + MARGIN
    assert limiter.waited > 0


def test_a_pause_holds_everybody() -> None:
    """The source said when it will listen again."""
    time = Time()
    limiter = Limiter(60, clock=time.clock, sleep=time.sleep)
    limiter.pause(7)
    assert asyncio.run(sends(limiter, time, [0.0, 0.0])) == [7.0, 7.0]
