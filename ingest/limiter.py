"""Limiter: when the next request may be sent. Clock and sleep are arguments.

It keeps the last send times instead of an even pace, so a short sync may use the whole budget
in one burst. If a load takes hours, it begins evenly, because the budget is freed in the
rhythm in which it was spent.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import structlog

from ingest.budget import Budget

log = structlog.get_logger()
# Seconds of waiting from which a log line explains the wait.
LOGGED_WAIT = 5.0
# A load is long if it needs more than this many times the budget of one minute.
LONG_LOAD = 2


class Limiter:
    """The queue of one run for the shared budget.

    ``waited`` is the number of seconds in which at least one request waited: the time that the
    run lost to the budget, not the sum over requests that waited concurrently.
    """

    def __init__(
        self,
        budget: Budget,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._budget = budget
        self._clock = clock
        self._sleep = sleep
        self._turn = asyncio.Lock()
        self._due: Iterator[float] = iter(())
        self.waited = 0.0

    def pace(self, requests: int) -> None:
        """Spend the first budget evenly if this many requests make a long load.

        A burst would be repeated each minute without a pause: a request that is late once would
        delay all later ones, and a sync would find no free place for most of a minute.
        """
        if requests > LONG_LOAD * self._budget.requests:
            now, gap = self._clock(), self._budget.per / self._budget.requests
            self._due = (now + number * gap for number in range(self._budget.requests))

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Occupy a place in the budget while a request is under way."""
        taken_at = await self.acquire()
        try:
            yield
        finally:
            self._budget.record_answer(taken_at)

    async def acquire(self) -> float:
        """Wait, in the order of the calls, until a request may be sent; return when its place was taken."""
        async with self._turn:
            began = self._clock()
            if (early := next(self._due, began) - began) > 0:
                await self._sleep(early)
            while (wait := self._budget.take()) > 0:
                if wait > LOGGED_WAIT:
                    log.info("ingest.waits_for_the_budget", seconds=round(wait))
                await self._sleep(wait)
            self.waited += self._clock() - began
            return self._budget.taken_at

    def pause(self, seconds: float) -> None:
        """Send nothing for this long, in any process: a 429 of the source applies to the whole key."""
        self._budget.pause(seconds)

    def close(self) -> None:
        """Leave the queue."""
        self._budget.close()
