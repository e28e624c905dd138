"""An index: records sorted by one of their times, which may change.

The entries are in runs of bounded length. If one entry moves, only its run is copied. The
position of an entry, which paging by number needs, takes two bisections.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from itertools import accumulate

_RUN = 1024
_ID = 32
_ID_MASK = (1 << _ID) - 1


def entry(stamp: int, id: int) -> int:
    """Return the sortable entry of a record: by time, then by id."""
    return stamp << _ID | id


def stamp_of(item: int) -> int:
    """Return the time of an entry."""
    return item >> _ID


def id_of(item: int) -> int:
    """Return the id of an entry."""
    return item & _ID_MASK


class Index:
    """A sorted multiset of entries with fast insertion, removal and slices by position."""

    def __init__(self, entries: Iterable[int] = ()) -> None:
        ordered = sorted(entries)
        self._runs = [ordered[at : at + _RUN] for at in range(0, len(ordered), _RUN)] or [[]]
        self._firsts = [run[0] for run in self._runs if run]
        self._starts: list[int] = []

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def add(self, item: int) -> None:
        """Insert ``item`` at its position."""
        at = self._run(item)
        run = self._runs[at]
        insort(run, item)
        if len(run) > 2 * _RUN:
            self._runs[at : at + 1] = [run[:_RUN], run[_RUN:]]
        self._changed(at)

    def remove(self, item: int) -> None:
        """Remove ``item``. Raises KeyError if it is missing."""
        at = self._run(item)
        run = self._runs[at]
        place = bisect_left(run, item)
        if place == len(run) or run[place] != item:
            raise KeyError(item)
        del run[place]
        if not run and len(self._runs) > 1:
            del self._runs[at]
        self._changed(at)

    def rank(self, item: int) -> int:
        """Return how many entries are smaller than ``item``."""
        at = self._run(item)
        return self._offsets()[at] + bisect_left(self._runs[at], item)

    def slice(self, start: int, stop: int) -> list[int]:
        """Return the entries from position ``start`` up to ``stop``, which is excluded."""
        start = max(start, 0)
        if start >= stop:
            return []
        offsets = self._offsets()
        at = bisect_right(offsets, start) - 1
        found: list[int] = []
        while at < len(self._runs) and offsets[at] < stop:
            found += self._runs[at][max(start - offsets[at], 0) : stop - offsets[at]]
            at += 1
        return found

    def _run(self, item: int) -> int:
        return max(bisect_right(self._firsts, item) - 1, 0)

    def _offsets(self) -> list[int]:
        if not self._starts:
            self._starts = [0, *accumulate(map(len, self._runs[:-1]))]
        return self._starts

    def _changed(self, at: int) -> None:
        self._starts = []
        if len(self._firsts) != len(self._runs):
            self._firsts = [run[0] for run in self._runs if run]
        elif self._runs[at]:
            self._firsts[at] = self._runs[at][0]
        else:
            self._firsts = []
