"""The counts of the shop's requests."""

from collections import Counter, deque

import msgspec

from ingest.sandbox.budget import WINDOW


class Counts(msgspec.Struct, frozen=True):
    """Requests since the last reset: all, by path, by status, refused, and the most in any 60 s."""

    requests: int
    by_path: dict[str, int]
    by_status: dict[int, int]
    refused: int
    most_in_a_minute: int


class Tally:
    """Counts requests; times are seconds of any clock."""

    def __init__(self) -> None:
        self._paths: Counter[str] = Counter()
        self._statuses: Counter[int] = Counter()
        self._recent: deque[float] = deque()
        self._most = 0

    def arrived(self, path: str, now: float) -> None:
        """Count a request."""
        self._paths[path] += 1
        self._recent.append(now)
        while self._recent[0] <= now - WINDOW:
            self._recent.popleft()
        self._most = max(self._most, len(self._recent))

    def answered(self, status: int) -> None:
        """Count an answer."""
        self._statuses[status] += 1

    def counts(self) -> Counts:
        """Return the counts so far."""
        by_path, by_status = dict(self._paths), dict(self._statuses)
        return Counts(sum(by_path.values()), by_path, by_status, by_status.get(429, 0), self._most)

    def reset(self) -> None:
        """Reset every count."""
        self._paths.clear()
        self._statuses.clear()
        self._recent.clear()
        self._most = 0
