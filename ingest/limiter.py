"""Limiter: when one more request may be sent. Clock and sleep are arguments.

A log of the last send times, not an even pace: a short sync may use the whole
budget at once. A load of hours begins evenly: the budget comes back as it was spent.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import structlog

from ingest.budget import Budget

log = structlog.get_logger()
# A wait that a person would wonder about.
LONG_SECONDS = 5.0
# A load of more budgets than this is a long one.
LONG_LOAD = 2


class Limiter:
    """One run's line in front of the shared budget.

    ``waited`` is for how many seconds somebody stood in the line: the time the run
    lost to the budget, not the sum over requests that waited side by side.
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

    def begin(self, requests: int) -> None:
        """Spend the first budget evenly where so many requests are to come that it is a long load.

        A burst would come back each minute with no pause in it: whatever is late once stays late,
        and a sync would find no place for most of a minute.
        """
        if requests > LONG_LOAD * self._budget.requests:
            now, gap = self._clock(), self._budget.per / self._budget.requests
            self._due = (now + place * gap for place in range(self._budget.requests))

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place in the budget while a request is under way."""
        taken_at = await self.acquire()
        try:
            yield
        finally:
            self._budget.answered(taken_at)

    async def acquire(self) -> float:
        """Return when the place was taken, once one more request may be sent, in the order of asking."""
        async with self._turn:
            began = self._clock()
            if (early := next(self._due, began) - began) > 0:
                await self._sleep(early)
            while (wait := self._budget.take()) > 0:
                if wait > LONG_SECONDS:
                    log.info("ingest.waits_for_the_budget", seconds=round(wait))
                await self._sleep(wait)
            self.waited += self._clock() - began
            return self._budget.taken_at

    def pause(self, seconds: float) -> None:
        """Send nothing for so long, in no process: the source asked for patience and means everybody."""
        self._budget.pause(seconds)

    def close(self) -> None:
        """Leave the line."""
        self._budget.close()
