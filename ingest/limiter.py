"""Limiter: when one more request may be sent. Clock and sleep are arguments.

A log of the last send times, not an even pace: a short sync may use the whole
budget at once, a long load uses all of it for hours.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from ingest.budget import Budget

# How fast the usual time of an answer follows the last ones.
LEARNING = 0.2


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
        self._usual = 0.0
        self.waited = 0.0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place in the budget while a request is under way.

        The source counts a request when it gets it, which is at latest when the answer is
        here: a name looked up, a connection made or lost come before. So what took longer
        than usual is held for that much longer. A source that is always slow costs nothing.
        """
        await self.acquire()
        began = self._clock()
        is_answered = False
        try:
            yield
            is_answered = True
        finally:
            took = self._clock() - began
            self._budget.hold(began, late=took - self._usual)
            if is_answered:
                self._usual += (took - self._usual) * LEARNING

    async def acquire(self) -> None:
        """Return when one more request may be sent, in the order of asking."""
        async with self._turn:
            began = self._clock()
            while (wait := self._budget.take()) > 0:
                await self._sleep(wait)
            self.waited += self._clock() - began

    def pause(self, seconds: float) -> None:
        """Send nothing for so long, in no process: the source asked for patience and means everybody."""
        self._budget.pause(seconds)

    def close(self) -> None:
        """Leave the line."""
        self._budget.close()
