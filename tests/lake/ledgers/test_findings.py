"""Finding: it gets a row when it is new, changed or healed, and none in between."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec

from lake.delta.tables import open_table
from lake.ledgers.findings import FINDINGS, Finding, read_findings, settle, write_findings
from lake.paths import Lake

BEGAN = datetime(2026, 9, 1, tzinfo=UTC)


def seen(minute: int, rows: int, amount: str | None = None) -> Finding:
    """Return the result of one examination of a condition."""
    at = BEGAN + timedelta(minutes=minute)
    return Finding(
        fingerprint="gold.revenue_daily.equals_orders",
        state="new",
        severity="error",
        fact="revenue equals that of the orders",
        rows=rows,
        amount=Decimal(amount) if amount else None,
        example="date=2026-05-10",
        first_seen_at=at,
        seen_at=at,
    )


def test_a_condition_is_one_finding_that_speaks_at_its_changes(lake: Lake) -> None:
    """A condition that stays the same writes nothing; each change and each return does."""
    looks = [(2, "1.50"), (2, "1.50"), (3, "2.00"), (3, "1.00"), (3, "1.00"), (0, None), (0, None), (1, None)]
    said = [write_findings(lake, [seen(minute, *look)]) for minute, look in enumerate(looks)]
    assert [one[0].state if one else None for one in said] == [
        "new",
        None,
        "open",
        "open",
        None,
        "healed",
        None,
        "new",
    ]
    (now,) = read_findings(lake).values()
    assert (now.rows, now.first_seen_at) == (1, BEGAN + timedelta(minutes=7))
    assert said[5][0].first_seen_at == BEGAN


def test_what_was_never_found_leaves_no_trace(lake: Lake) -> None:
    """A check without failures writes nothing, not even a table."""
    assert write_findings(lake, [seen(1, 0)]) == []
    assert lake.tables("ops") == []


def test_a_silent_look_commits_nothing(lake: Lake) -> None:
    """An examination without a change commits nothing."""
    write_findings(lake, [seen(1, 2)])
    before = open_table(lake, FINDINGS).version
    write_findings(lake, [seen(2, 2)])
    assert open_table(lake, FINDINGS).version == before


def test_where_nothing_is_built_what_the_release_has_is_what_is_open(lake: Lake) -> None:
    """Findings of a refused build return to the release's counts; nightly findings stay as they are."""
    name, nightly = seen(1, 2).fingerprint, msgspec.structs.replace(seen(1, 4), fingerprint="nightly.whole")
    write_findings(lake, [seen(1, 2, "5.00")])
    write_findings(lake, [nightly])

    def said(minute: int, checks: dict[str, int]) -> list[tuple[str, int]]:
        found = settle(lake, checks, now=BEGAN + timedelta(minutes=minute))
        return [(one.state, one.rows) for one in found]

    assert said(2, {name: 2}) == []
    assert said(3, {}) == [("healed", 0)]
    assert said(4, {}) == []
    assert said(5, {name: 3}) == [("new", 3)]
    assert read_findings(lake)["nightly.whole"].state == "new"
