"""Retention: the releases, and their versions, that readers can rely on."""

from datetime import UTC, datetime, timedelta

from lake.releases.release import Release
from lake.releases.retention import feed_from, kept_releases, kept_versions

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def release(number: int, *, days_ago: float, parent: int | None = None, is_held: bool = False) -> Release:
    """Return a release whose number is also the version of everything in it."""
    return Release(
        release=number,
        published_at=NOW - timedelta(days=days_ago),
        kind="rollback" if is_held else "sync",
        parent=parent if parent is not None else number - 1 or None,
        tables={"silver.things": number},
        consumed={"bronze.things": number},
        is_held=is_held,
    )


def numbers(found: list[Release]) -> list[int]:
    """Return the releases' numbers."""
    return sorted(one.release for one in found)


def test_young_tagged_and_current_releases_are_kept() -> None:
    """A lake that nobody has synced for a year still serves its last release."""
    old = [release(number, days_ago=400 - number) for number in range(1, 6)]
    assert numbers(kept_releases(old, now=NOW, keep_days=90)) == [4, 5]  # and what it goes back to
    young = [*old, release(6, days_ago=90), release(7, days_ago=89)]
    assert numbers(kept_releases(young, tagged=[2], now=NOW, keep_days=90)) == [2, 6, 7]
    assert kept_releases([], now=NOW, keep_days=90) == []


def test_older_ones_may_be_thinned_to_the_last_of_each_day_of_the_shop() -> None:
    """A bare date then still means what it meant: the release at the end of that day."""
    releases = [release(number, days_ago=10 - number / 4) for number in range(1, 41)]
    kept = numbers(kept_releases(releases, now=NOW, keep_days=8, keep_all_hours=48))
    # Published at noon UTC, and at 18, 0 and 6: 18 is 20 in Kyiv, the last of its day there.
    assert kept == [9, 13, 17, 21, 25, 29, *range(32, 41)]


def test_while_publishing_is_held_the_release_to_resume_from_is_kept() -> None:
    """However long the hold lasts: the next build goes on from what that one consumed."""
    releases = [
        release(1, days_ago=300),
        release(2, days_ago=299),
        release(3, days_ago=200, is_held=True),
        release(4, days_ago=199, is_held=True),
    ]
    kept = kept_releases(releases, now=NOW, keep_days=90)
    assert numbers(kept) == [1, 2, 3, 4]
    assert kept_versions(kept) == {"silver.things": {1, 2, 3, 4}, "bronze.things": {1, 2, 3, 4}}
    assert feed_from(releases, kept) == {"bronze.things": 2}
