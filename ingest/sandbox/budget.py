"""The request budget of each key: a number of requests per minute."""

from collections import deque
from math import ceil
from typing import Literal

import msgspec

WINDOW = 60.0


class Verdict(msgspec.Struct, frozen=True):
    """True in ``allowed`` if a request may pass, with the requests that remain and the seconds to wait."""

    allowed: bool
    remaining: int
    retry_after: int


class Budget:
    """Counts the requests of each key. A refused request does not count. Times are seconds of any clock."""

    def __init__(self, per_minute: int, *, window: Literal["sliding", "fixed"] = "sliding") -> None:
        self.per_minute = per_minute
        self._window = window
        self._spent: dict[str, deque[float]] = {}

    def spend(self, key: str, now: float) -> Verdict:
        """Return the verdict on one request of ``key`` at ``now``; a budget of 0 lets every request pass."""
        if not self.per_minute:
            return Verdict(True, 0, 0)
        spent = self._spent.setdefault(key, deque())
        self._forget(spent, now)
        if len(spent) >= self.per_minute:
            return Verdict(False, 0, max(ceil(spent[0] + WINDOW - now), 1))
        spent.append(now)
        return Verdict(True, self.per_minute - len(spent), 0)

    def _forget(self, spent: deque[float], now: float) -> None:
        if self._window == "fixed":
            if spent and spent[0] <= now - WINDOW:
                spent.clear()
            return
        while spent and spent[0] <= now - WINDOW:
            spent.popleft()
