"""Kept: which versions of which tables can be counted on at a moment, by the releases that are kept.

The ledger of releases grows by hundreds a day and is never cut: of most of them only what tells
whether they are kept is read.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

import msgspec

from lake.clock import shop_day
from lake.paths import Lake
from lake.releases.release import Release, alike, list_outlines, read_versions
from lake.releases.tags import read_tags
from lake.settings import LakeSettings


class Kept(msgspec.Struct, frozen=True):
    """Per table, the versions that kept releases name; and the version a build reads what changed from."""

    versions: Mapping[str, set[int]]
    feed: Mapping[str, int]

    def has(self, release: Release) -> bool:
        """True where all versions that a release names are kept."""
        named = {**release.tables, **release.consumed}
        return all(version in self.versions.get(name, ()) for name, version in named.items())


def read_kept(lake: Lake, settings: LakeSettings, *, now: datetime) -> Kept:
    """Read what is kept at a moment."""
    outlines = list_outlines(lake)
    kept = kept_releases(
        outlines,
        tagged=read_tags(lake).values(),
        now=now,
        keep_days=settings.keep_days,
        keep_all_hours=settings.keep_all_hours,
    )
    named = read_versions(lake, [release.release for release in kept])
    return Kept(kept_versions(named), feed_from(outlines, named))


# Vacuum spares a release for so much longer than others may count on it: who looks first
# whether it is kept, and names it then (a rollback, a tag), has that long to do it.
GRACE = timedelta(hours=1)


def kept_releases(
    releases: Iterable[Release],
    *,
    tagged: Collection[int] = (),
    now: datetime,
    keep_days: int,
    keep_all_hours: int | None = None,
) -> list[Release]:
    """Return the releases that can be counted on: young, tagged, current, or what a build goes on from.

    Of those older than ``keep_all_hours`` (None: all are young) the last of each day of the shop counts.
    """
    found = {release.release: release for release in releases}
    since = now - timedelta(days=keep_days)
    every = since if keep_all_hours is None else now - timedelta(hours=keep_all_hours)
    days = {number: shop_day(release.published_at) for number, release in sorted(found.items())}
    last = {day: number for number, day in days.items()}
    serving = going_on(found)
    # The one before it, too: it is what a rollback goes back to, however long nothing was published.
    before = [alike(release, found.get)[-1].parent for release in serving]
    pinned = {*tagged, *(release.release for release in serving), *before}
    return [
        release
        for number, release in found.items()
        if number in pinned
        or release.published_at >= max(since, every)
        or (release.published_at >= since and last[days[number]] == number)
    ]


def going_on(releases: Mapping[int, Release]) -> list[Release]:
    """Return the current release, and its newest forebear that no hold is on."""
    if not releases:
        return []
    current = base = releases[max(releases)]
    while base.is_held and base.parent is not None and base.parent in releases:
        base = releases[base.parent]
    return [current, base]


def kept_versions(kept: Iterable[Release]) -> dict[str, set[int]]:
    """Return, per table, the versions that kept releases show or were built from."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    for release in kept:
        for name, version in (*release.tables.items(), *release.consumed.items()):
            found[name].add(version)
    return dict(found)


def feed_from(outlines: Iterable[Release], named: Iterable[Release]) -> dict[str, int]:
    """Return, per bronze table, the version from which on a build reads what changed.

    The outlines say what a build goes on from; ``named`` are releases with their versions.
    """
    bases = {release.release for release in going_on({release.release: release for release in outlines})}
    found: dict[str, int] = {}
    for release in named:
        if release.release in bases:
            for name, version in release.consumed.items():
                found[name] = min(version, found.get(name, version))
    return found
