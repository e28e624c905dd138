"""Tags: names that people give to releases. The newest row of a name in ``ops.tags`` counts.

A tagged release is retained until its last tag is removed.
"""

import re
from datetime import datetime

import msgspec

from lake.delta.ledger import Ledger
from lake.errors import UsageError
from lake.paths import Lake
from lake.releases.release import Release

# The first character is a letter, so that a tag never reads as a number or a time.
NAME = re.compile(r"[^\W\d_][\w.-]{0,63}")


class Tag(msgspec.Struct, frozen=True):
    """One row of ``ops.tags``; ``release`` is null if the name was removed."""

    name: str
    release: int | None
    tagged_at: datetime


LEDGER = Ledger("ops.tags", Tag, order_by="tagged_at")


def read_tags(lake: Lake) -> dict[str, int]:
    """Return ``{name: release}`` of the tags in use, by name."""
    newest = {tag.name: tag.release for tag in LEDGER.read(lake)}
    return {name: release for name, release in sorted(newest.items()) if release is not None}


def tags_of(lake: Lake) -> dict[int, list[str]]:
    """Return ``{release: names}`` of the tagged releases."""
    names: dict[int, list[str]] = {}
    for name, release in read_tags(lake).items():
        names.setdefault(release, []).append(name)
    return names


def write_tag(lake: Lake, release: Release, name: str, *, now: datetime) -> int | None:
    """Name the release; return the release that had the name before, None for a new name.

    Raises UsageError for a name that reads as a number or a time. The caller checks that the
    release is retained.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no tag: a letter, then up to 63 letters, digits, dots, dashes or _")
    before = read_tags(lake).get(name)
    if before != release.release:
        LEDGER.append(lake, [Tag(name, release.release, now)])
    return before


def remove_tag(lake: Lake, name: str, *, now: datetime) -> int:
    """Remove the name; return the release that had it. Raises UsageError for an unknown name."""
    tags = read_tags(lake)
    if name not in tags:
        known = f"the tags are {', '.join(tags)}" if tags else "there are none"
        raise UsageError(f"{name!r} is no tag; {known}")
    LEDGER.append(lake, [Tag(name, None, now)])
    return tags[name]
