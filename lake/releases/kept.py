"""Kept: which versions of which tables can be counted on at a moment, by the releases that are kept.

The ledger of releases grows by hundreds a day and is never cut: of most of them only what tells
whether they are kept is read.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from lake.paths import Lake
from lake.releases.release import Release, list_outlines, read_versions
from lake.releases.retention import feed_from, kept_releases, kept_versions
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
