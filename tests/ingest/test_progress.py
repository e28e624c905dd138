"""Progress: how many pages there are, and how long the rest of them takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.progress import Watch, detail_of, seconds_left, span


def test_a_plan_is_the_total_until_windows_say_more() -> None:
    """A full load knows how many pages it will read before its windows begin, one by one."""
    watch = Watch(budget=60, bar=False)
    assert watch.total == 0
    watch.plan(900)
    watch.plan(100)
    watch.expect(300)
    watch.expect(300)
    assert watch.total == 1000
    watch.expect(500)
    assert watch.total == 1100


def test_without_a_plan_the_windows_begun_are_the_total() -> None:
    """And what arrived, where nothing said that it would."""
    watch = Watch(budget=60, bar=False)
    watch.arrived("orders", 50)
    assert watch.total == 1
    watch.expect(7)
    assert watch.total == 7


@given(
    pages=st.integers(0, 3000),
    more=st.integers(0, 3000),
    seconds=st.floats(0, 10_000),
    budget=st.integers(1, 1000),
)
def test_what_is_left_never_takes_less_than_the_budget_allows(
    pages: int, more: int, seconds: float, budget: int
) -> None:
    """The first minute's burst says nothing of the minutes after it."""
    left = seconds_left(pages, total=pages + more, seconds=seconds, budget=budget)
    if pages + more > budget:
        assert left >= more / budget * 60
    assert left >= 0


@pytest.mark.parametrize(
    ("pages", "total", "seconds", "said"),
    [
        (60, 1200, 3, "3,000 rows · 1,200 requests/min · 100% of the budget · 19:00 left"),
        (600, 1200, 600, "30,000 rows · 60 requests/min · 100% of the budget · 10:00 left"),
        (300, 1200, 600, "15,000 rows · 30 requests/min · 50% of the budget · 30:00 left"),
        (10, 40, 1, "500 rows · 600 requests/min · 17% of the budget · 0:03 left"),
        (0, 0, 0, "0 rows · 0 requests/min · 0% of the budget · 0:00 left"),
    ],
)
def test_the_words_beside_the_bar(pages: int, total: int, seconds: float, said: str) -> None:
    """At a budget of sixty requests a minute."""
    assert detail_of(pages, pages * 50, total=total, seconds=seconds, budget=60) == said


def test_a_budget_that_nobody_uses_up_is_no_word_worth() -> None:
    """Nor does it bound anything."""
    said = detail_of(10, 500, total=20, seconds=60, budget=100_000)
    assert said == "500 rows · 10 requests/min · 1:00 left"
    assert span(7325) == "2:02:05"
