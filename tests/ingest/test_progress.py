"""Progress: the number of pages, and the time left."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.progress import ProgressReporter, detail_of, duration, seconds_left


def test_a_plan_is_the_total_until_windows_have_more() -> None:
    """A full load knows its number of pages before its windows begin one by one."""
    progress = ProgressReporter(budget=60, bar=False)
    assert progress.total == 0
    progress.plan_pages(900)
    progress.plan_pages(100)
    progress.expect_pages(300)
    progress.expect_pages(300)
    assert progress.total == 1000
    progress.expect_pages(500)
    assert progress.total == 1100


def test_without_a_plan_the_windows_begun_are_the_total() -> None:
    """If more pages arrived than were expected, they are the total."""
    progress = ProgressReporter(budget=60, bar=False)
    progress.add_page("orders", 50)
    assert progress.total == 1
    progress.expect_pages(7)
    assert progress.total == 7


@given(
    pages=st.integers(0, 3000),
    more=st.integers(0, 3000),
    seconds=st.floats(0, 10_000),
    budget=st.integers(1, 1000),
)
def test_what_is_left_never_takes_less_than_the_budget_allows(
    pages: int, more: int, seconds: float, budget: int
) -> None:
    """A burst in the first minute does not make the later minutes faster."""
    left = seconds_left(pages, total=pages + more, seconds=seconds, budget=budget)
    if pages + more > budget:
        assert left >= more / budget * 60
    assert left >= 0


@pytest.mark.parametrize(
    ("pages", "total", "seconds", "text"),
    [
        (60, 1200, 3, "3,000 rows · 1,200 requests/min · 100% of the budget · 19:00 left"),
        (600, 1200, 600, "30,000 rows · 60 requests/min · 100% of the budget · 10:00 left"),
        (300, 1200, 600, "15,000 rows · 30 requests/min · 50% of the budget · 30:00 left"),
        (10, 40, 1, "500 rows · 600 requests/min · 17% of the budget · 0:03 left"),
        (0, 0, 0, "0 rows · 0 requests/min · 0% of the budget · 0:00 left"),
    ],
)
def test_the_bar_shows_rows_speed_budget_and_time(pages: int, total: int, seconds: float, text: str) -> None:
    """The budget is 60 requests a minute."""
    assert detail_of(pages, pages * 50, total=total, seconds=seconds, budget=60) == text


def test_an_unlimited_budget_is_not_shown() -> None:
    """A budget that no run uses up does not limit the time left either."""
    text = detail_of(10, 500, total=20, seconds=60, budget=100_000)
    assert text == "500 rows · 10 requests/min · 1:00 left"
    assert duration(7325) == "2:02:05"
