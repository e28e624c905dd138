"""Windows: what to request next, derived from what is complete. Pure.

A window is a span of the source's time by the source's own clock, with both ends included and
cut to the second, because the CRM's filters work that way. KeyCRM can show a change late, so the
next window reaches back by ``overlap``. If an order is read twice, its unchanged payload writes
nothing.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Literal

import msgspec

SECOND = timedelta(seconds=1)
# Bounds of all windows: before the first shop, and long after any run.
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
END = datetime(2100, 1, 1, tzinfo=UTC)


class Window(msgspec.Struct, frozen=True):
    """A span of source time by ``created`` or ``updated``, or the whole list."""

    by: Literal["created", "updated", "list"] = "list"
    since: datetime | None = None
    until: datetime | None = None

    def __str__(self) -> str:
        if self.since is None or self.until is None:
            return "whole list"
        return f"{self.by} {self.since:%Y-%m-%d %H:%M:%S} to {self.until:%Y-%m-%d %H:%M:%S}"


WHOLE = Window()


def changed_window(watermark: datetime, *, now: datetime, overlap: timedelta) -> Window:
    """Return the window of updates after ``watermark``, reaching back by ``overlap``."""
    return Window("updated", floor(max(min(watermark, now), BEGINNING + overlap) - overlap), floor(now))


def recent_window(*, now: datetime, days: int) -> Window:
    """Return the window of what was created in the last ``days``."""
    return Window("created", floor(now - timedelta(days=days)), floor(now))


def history_windows(first: datetime, *, now: datetime, orders: int, per_window: int) -> list[Window]:
    """Return windows by creation that together cover every order, about ``per_window`` in each.

    ``first`` is the creation of the first order; one before 1970 or after ``now`` is a mistake in the CRM.

    The first begins before any shop and the last ends long after ``now``. Even if an order has a
    stray date, it is in exactly one window.
    """
    first = min(max(first, BEGINNING), now)
    count = max(-(-orders // per_window), 1)
    step = max((now - first) / count, SECOND)
    cuts = [floor(first + step * number) for number in range(1, count)]
    edges = [BEGINNING, *(cut for cut in cuts if BEGINNING < cut < floor(now)), floor(now) + SECOND]
    windows = [Window("created", since, until - SECOND) for since, until in pairwise(edges)]
    return [*windows, Window("created", edges[-1], END)]


def subtract(windows: Iterable[Window], done: Iterable[Window]) -> list[Window]:
    """Return the parts of the windows that lie outside the windows in ``done``."""
    left = list(windows)
    for finished in done:
        left = [piece for window in left for piece in cut(window, finished)]
    return left


def cut(window: Window, other: Window) -> list[Window]:
    """Return the parts of a window before and after another one."""
    if not (window.since and window.until and other.since and other.until):
        return [window]
    if other.until < window.since or other.since > window.until:
        return [window]
    before = Window(window.by, window.since, other.since - SECOND)
    after = Window(window.by, other.until + SECOND, window.until)
    return [piece for piece in (before, after) if piece.since and piece.until and piece.since <= piece.until]


def split(window: Window, stamps: Sequence[datetime] = ()) -> tuple[Window, Window] | None:
    """Return the two halves of a window; None if it is too short to halve.

    If the times of its rows are known, each half gets the same number of rows: a window that
    begins before any shop has all its rows at its end.
    """
    if window.since is None or window.until is None or window.until <= window.since:
        return None
    middle = window.since + (window.until - window.since) / 2
    if stamps:
        middle = sorted(stamps)[(len(stamps) - 1) // 2]
    middle = floor(min(max(middle, window.since), window.until - SECOND))
    return Window(window.by, window.since, middle), Window(window.by, middle + SECOND, window.until)


def floor(stamp: datetime) -> datetime:
    """Return the stamp in UTC, cut to its second."""
    return stamp.astimezone(UTC).replace(microsecond=0)
