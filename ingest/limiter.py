"""The request budget: at most ``requests`` in any ``per`` seconds. Clock and sleep are arguments.

A log of the last send times, not an even pace: a short sync may use the whole
budget at once, a long load uses all of it for hours. The span is held a little
longer than the source's, because requests do not travel equally fast.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

MARGIN = 0.5  # seconds


class Limiter:
    """The budget of one process. ``waited`` is how long requests stood in line, in seconds."""

    def __init__(
        self,
        requests: int,
        *,
        per: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._requests = requests
        self._per = per + MARGIN
        self._clock = clock
        self._sleep = sleep
        self._sent: deque[float] = deque(maxlen=requests)
        self._paused_until = 0.0
        self._turn = asyncio.Lock()
        self.waited = 0.0

    async def acquire(self) -> None:
        """Return when one more request may be sent, in the order of asking."""
        asked = self._clock()
        async with self._turn:
            while (wait := self._ready_at() - self._clock()) > 0:
                await self._sleep(wait)
            now = self._clock()
            self._sent.append(now)
            self.waited += now - asked

    def pause(self, seconds: float) -> None:
        """Send nothing for so long: the source asked for patience, and means everybody."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    def _ready_at(self) -> float:
        full = len(self._sent) == self._requests
        return max(self._paused_until, self._sent[0] + self._per if full else 0.0)
