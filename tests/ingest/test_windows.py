"""Windows: together they leave no gap, and overlap only on purpose."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.windows import (
    BEGINNING,
    END,
    SECOND,
    Window,
    changed_window,
    history_windows,
    recent_window,
    split,
    subtract,
)

instants = st.datetimes(datetime(2015, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))


@given(first=instants, now=instants, orders=st.integers(0, 2_000_000), per_window=st.integers(5000, 10_000))
def test_history_is_covered_once_from_the_beginning_to_the_end(
    first: datetime, now: datetime, orders: int, per_window: int
) -> None:
    """Every second belongs to exactly one window, whatever the shop's size and clock."""
    windows = history_windows(first, now=now, orders=orders, per_window=per_window)
    assert windows[0].since == BEGINNING
    assert windows[-1].until == END
    for window, following in itertools.pairwise(windows):
        assert window.since
        assert window.until
        assert window.since <= window.until
        assert window.until + SECOND == following.since


def test_history_is_divided_by_the_number_of_orders() -> None:
    """10,000 orders at 1,000 each give ten windows, and one for the time after now."""
    first, now = datetime(2024, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    assert len(history_windows(first, now=now, orders=10_000, per_window=1000)) == 11


@given(since=instants, length=st.timedeltas(timedelta(seconds=1), timedelta(days=4000)))
def test_two_halves_are_the_whole(since: datetime, length: timedelta) -> None:
    """Both ends belong to a window, so the second half begins a second later."""
    whole = Window("created", since.replace(microsecond=0), (since + length).replace(microsecond=0))
    halves = split(whole)
    assert halves
    assert (halves[0].since, halves[1].until) == (whole.since, whole.until)
    assert halves[0].until
    assert halves[1].since == halves[0].until + SECOND


def test_a_second_and_a_whole_list_have_no_halves() -> None:
    """If a window can't be halved, paging reports it incomplete."""
    stamp = datetime(2026, 1, 1, tzinfo=UTC)
    assert split(Window("created", stamp, stamp)) is None
    assert split(Window()) is None


def test_changes_are_read_from_before_the_watermark_to_now() -> None:
    """If the watermark is ahead of the clock, nothing is skipped."""
    now, overlap = datetime(2026, 1, 1, 12, tzinfo=UTC), timedelta(minutes=5)
    assert changed_window(now - timedelta(hours=1), now=now, overlap=overlap) == Window(
        "updated", now - timedelta(minutes=65), now
    )
    assert changed_window(now + timedelta(hours=1), now=now, overlap=overlap).since == now - overlap


def test_recent_days_are_counted_back_from_now() -> None:
    """The window is cut to the second, like the CRM's filters."""
    now = datetime(2026, 1, 3, 12, 0, 0, 999, tzinfo=UTC)
    window = recent_window(now=now, days=2)
    assert window == Window(
        "created", datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 3, 12, tzinfo=UTC)
    )
    assert str(window) == "created 2026-01-01 12:00:00 to 2026-01-03 12:00:00"


@given(
    edges=st.lists(st.integers(0, 100), min_size=2, max_size=12, unique=True),
    done=st.sets(st.integers(0, 10)),
)
def test_remaining_and_finished_windows_are_the_whole(edges: list[int], done: set[int]) -> None:
    """If a load is continued, no second is read twice and none is left out."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    cuts = [start + timedelta(seconds=edge) for edge in sorted(edges)]
    parts = [Window("created", a, b - SECOND) for a, b in itertools.pairwise(cuts)]
    finished = [part for number, part in enumerate(parts) if number in done]
    left = subtract([Window("created", cuts[0], cuts[-1] - SECOND)], finished)
    assert seconds(left) + seconds(finished) == seconds([Window("created", cuts[0], cuts[-1] - SECOND)])
    assert all(subtract([piece], finished) == [piece] for piece in left)


def seconds(windows: list[Window]) -> int:
    """Return how many seconds the windows have, both ends included."""
    return sum(int((w.until - w.since).total_seconds()) + 1 for w in windows if w.since and w.until)


@pytest.mark.parametrize("year", [1, 9999])
def test_no_time_of_the_calendar_stops_a_window(year: int) -> None:
    """A mistaken time in the CRM, or one that an older version stored as the watermark, does no harm."""
    stamp = datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC) if year > 1 else datetime(1, 1, 1, tzinfo=UTC)
    now = datetime(2026, 3, 1, tzinfo=UTC)
    changed = changed_window(stamp, now=now, overlap=timedelta(minutes=30))
    assert changed.since
    assert BEGINNING <= changed.since <= now
    windows = history_windows(stamp, now=now, orders=1000, per_window=100)
    assert (windows[0].since, windows[-1].until) == (BEGINNING, END)
