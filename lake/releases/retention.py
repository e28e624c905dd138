"""Retention: the releases that are retained at a given time, and the table versions that they need.

A release is retained if it is younger than ``keep_all_hours``, is the last of its day within
``keep_days``, has a tag, is serving, or is needed by the next build or the next rollback.
``lake.maintenance.plan`` derives from the retained versions which files may be deleted.

The ledger of releases gets hundreds of rows a day and is never cut. So all releases are read in
outline, and only the retained ones are read with their versions.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

import msgspec

from lake.clock import shop_day
from lake.paths import Lake
from lake.releases.release import Release, alike, list_outlines, read_versions
from lake.releases.restores import read_restores
from lake.releases.tags import read_tags
from lake.settings import LakeSettings


class Retention(msgspec.Struct, frozen=True):
    """Retained versions by table, and by bronze table the version from which a build reads changes.

    ``releases`` are the outlines of the retained releases with the versions that they name.
    """

    versions: Mapping[str, set[int]]
    feed: Mapping[str, int]
    releases: tuple[Release, ...] = ()

    def has(self, release: Release) -> bool:
        """Return True if all versions of a release are retained."""
        named = {**release.tables, **release.consumed}
        return all(version in self.versions.get(name, ()) for name, version in named.items())


def read_retention(lake: Lake, settings: LakeSettings, *, now: datetime) -> Retention:
    """Return the versions that are retained at ``now``, without those that a backup did not bring."""
    outlines = list_outlines(lake)
    retained = retained_releases(
        outlines,
        tagged=read_tags(lake).values(),
        now=now,
        keep_days=settings.keep_days,
        keep_all_hours=settings.keep_all_hours,
    )
    restores = read_restores(lake)
    releases = [
        release
        for release in read_versions(lake, [release.release for release in retained])
        if not any(restored.left_out(release) for restored in restores)
    ]
    return Retention(retained_versions(releases), feed_from(outlines, releases), tuple(releases))


# Grace period of vacuum: a rollback or tag that has just checked that a release is retained can still commit.
GRACE = timedelta(hours=1)


def retained_releases(
    releases: Iterable[Release],
    *,
    tagged: Collection[int] = (),
    now: datetime,
    keep_days: int,
    keep_all_hours: int | None = None,
) -> list[Release]:
    """Return the releases that are young, tagged, serving, or needed by the next build or rollback.

    A release is young if it is at most ``keep_all_hours`` old, or the last of its day of the shop
    and at most ``keep_days`` old. If ``keep_all_hours`` is None, only ``keep_days`` counts.
    """
    by_number = {release.release: release for release in releases}
    since = now - timedelta(days=keep_days)
    every = since if keep_all_hours is None else now - timedelta(hours=keep_all_hours)
    days = {number: shop_day(release.published_at) for number, release in sorted(by_number.items())}
    last = {day: number for number, day in days.items()}
    bases = build_bases(by_number)
    # A rollback goes to the release before, even if nothing has been published for a long time.
    before = [alike(release, by_number.get)[-1].parent for release in bases]
    pinned = {*tagged, *(release.release for release in bases), *before}
    return [
        release
        for number, release in by_number.items()
        if number in pinned
        or release.published_at >= max(since, every)
        or (release.published_at >= since and last[days[number]] == number)
    ]


def build_bases(releases: Mapping[int, Release]) -> list[Release]:
    """Return the releases that the next build may follow: the current one, and the newest without a hold."""
    if not releases:
        return []
    current = base = releases[max(releases)]
    while base.is_held and base.parent is not None and base.parent in releases:
        base = releases[base.parent]
    return [current, base]


def retained_versions(releases: Iterable[Release]) -> dict[str, set[int]]:
    """Return, by table, the versions that the releases serve or were built from."""
    versions: defaultdict[str, set[int]] = defaultdict(set)
    for release in releases:
        for name, version in (*release.tables.items(), *release.consumed.items()):
            versions[name].add(version)
    return dict(versions)


def feed_from(outlines: Iterable[Release], releases: Iterable[Release]) -> dict[str, int]:
    """Return, by bronze table, the version from which the next build reads changes.

    ``outlines`` are all releases, without versions; ``releases`` are those read with versions.
    """
    bases = {release.release for release in build_bases({release.release: release for release in outlines})}
    versions: dict[str, int] = {}
    for release in releases:
        if release.release in bases:
            for name, version in release.consumed.items():
                versions[name] = min(version, versions.get(name, version))
    return versions
