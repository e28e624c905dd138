"""The budget of requests per minute, and the answer when it is used up."""

from typing import Any

import pytest

from ingest.sandbox.budget import Budget


def test_sliding_window_forgets_one_request_at_a_time() -> None:
    """A request counts for exactly sixty seconds."""
    budget = Budget(2)
    assert [budget.spend("k", at).allowed for at in (0.0, 30.0, 59.9)] == [True, True, False]
    assert budget.spend("k", 59.9).retry_after == 1
    assert budget.spend("k", 60.0).allowed
    refusal = budget.spend("k", 60.0)
    assert (refusal.allowed, refusal.retry_after) == (False, 30)


def test_fixed_window_resets_the_whole_count() -> None:
    """A fixed window begins with the first request and resets the whole count when it ends."""
    budget = Budget(2, window="fixed")
    assert [budget.spend("k", at).allowed for at in (0.0, 59.0, 59.5)] == [True, True, False]
    assert [budget.spend("k", at).allowed for at in (60.0, 60.1, 60.2)] == [True, True, False]


def test_keys_have_budgets_of_their_own() -> None:
    """The requests of one key do not count for another."""
    budget = Budget(1)
    assert budget.spend("a", 0.0).allowed
    assert budget.spend("b", 0.0).allowed


def test_no_budget_refuses_nothing() -> None:
    """A budget of 0 allows any number of requests."""
    budget = Budget(0)
    assert all(budget.spend("k", 0.0).allowed for _ in range(500))


@pytest.mark.parametrize(("how", "header"), [("seconds", "60"), ("zero", "0"), ("missing", None)])
async def test_refusal(open_shop: Any, how: str, header: str | None) -> None:
    """Over the budget the answer is 429, its Retry-After is a setting, and later requests pass again."""
    now = [1000.0]
    asker = await open_shop(requests_per_minute=3, retry_after=how, real_clock=lambda: now[0])
    left = [(await asker.ask("/order/source")).headers["X-RateLimit-Remaining"] for _ in range(3)]
    assert left == ["2", "1", "0"]
    response = await asker.ask("/order/source")
    assert response.status == 429
    assert (await response.json())["message"] == "Too Many Attempts."
    assert response.headers["X-RateLimit-Limit"] == "3"
    assert response.headers.get("Retry-After") == header
    now[0] += 60.0
    assert (await asker.ask("/order/source")).status == 200
    counts = asker.shop.shop.tally.counts()
    assert (counts.requests, counts.refused, counts.most_in_a_minute) == (5, 1, 4)
    assert counts.by_status == {200: 4, 429: 1}
