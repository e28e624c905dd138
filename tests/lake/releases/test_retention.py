"""Retention: the releases that are retained, and their versions."""

from datetime import UTC, datetime, timedelta

from lake.releases.release import Release
from lake.releases.retention import feed_from, retained_releases, retained_versions

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


def numbers(releases: list[Release]) -> list[int]:
    """Return the releases' numbers."""
    return sorted(release.release for release in releases)


def test_young_tagged_and_current_releases_are_retained() -> None:
    """A lake without a sync for a year still serves its last release."""
    old = [release(number, days_ago=400 - number) for number in range(1, 6)]
    assert numbers(retained_releases(old, now=NOW, keep_days=90)) == [4, 5]  # 4 for a rollback
    young = [*old, release(6, days_ago=90), release(7, days_ago=89)]
    assert numbers(retained_releases(young, tagged=[2], now=NOW, keep_days=90)) == [2, 6, 7]
    assert retained_releases([], now=NOW, keep_days=90) == []


def test_older_releases_are_thinned_to_the_last_of_each_day_of_the_shop() -> None:
    """A date still names the release at the end of that day."""
    releases = [release(number, days_ago=10 - number / 4) for number in range(1, 41)]
    retained = numbers(retained_releases(releases, now=NOW, keep_days=8, keep_all_hours=48))
    # Published at 12, 18, 0 and 6 UTC: 18 UTC is 20:00 in Kyiv, the last release of that day there.
    assert retained == [9, 13, 17, 21, 25, 29, *range(32, 41)]


def test_while_publishing_is_held_the_release_to_resume_from_is_retained() -> None:
    """During a hold of any length, the next build still needs the versions that this release consumed."""
    releases = [
        release(1, days_ago=300),
        release(2, days_ago=299),
        release(3, days_ago=200, is_held=True),
        release(4, days_ago=199, is_held=True),
    ]
    retained = retained_releases(releases, now=NOW, keep_days=90)
    assert numbers(retained) == [1, 2, 3, 4]
    assert retained_versions(retained) == {"silver.things": {1, 2, 3, 4}, "bronze.things": {1, 2, 3, 4}}
    assert feed_from(releases, retained) == {"bronze.things": 2}
