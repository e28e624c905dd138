"""Tags: names that people give to releases. ``ops.tags`` is append-only; the newest row of a name counts.

A tagged release is kept for as long as it has a tag.
"""

import re
from datetime import datetime

import pyarrow as pa

from lake.delta.table import create_table, open_table, table_exists
from lake.errors import UsageError
from lake.paths import Lake
from lake.releases.release import Release

TAGS = "ops.tags"
SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), False),
        pa.field("release", pa.int64()),
        pa.field("tagged_at", pa.timestamp("us", "UTC"), False),
    ]
)
# It begins with a letter: nothing that could be taken for a number or a time.
NAME = re.compile(r"[^\W\d_][\w.-]{0,63}")


def read_tags(lake: Lake) -> dict[str, int]:
    """Return ``{name: release}`` of the tags there are."""
    if not table_exists(lake, TAGS):
        return {}
    rows = sorted(open_table(lake, TAGS).read().to_pylist(), key=lambda row: row["tagged_at"])
    newest: dict[str, int | None] = {row["name"]: row["release"] for row in rows}
    return {name: release for name, release in sorted(newest.items()) if release is not None}


def tags_of(lake: Lake) -> dict[int, list[str]]:
    """Return ``{release: names}`` of the releases that have tags."""
    found: dict[int, list[str]] = {}
    for name, release in read_tags(lake).items():
        found.setdefault(release, []).append(name)
    return found


def write_tag(lake: Lake, release: Release, name: str, *, now: datetime) -> int | None:
    """Name the release; return the release that the name was taken from, None for a new name.

    Raises UsageError for a name that could be read as a number or a time. Whether the release
    is still kept is for the caller to ask.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no tag: a letter, then up to 63 letters, digits, dots, dashes or _")
    before = read_tags(lake).get(name)
    if before != release.release:
        append(lake, name, release.release, now)
    return before


def remove_tag(lake: Lake, name: str, *, now: datetime) -> int:
    """Take the name away; return the release that had it. Raises UsageError for one that is no tag."""
    tags = read_tags(lake)
    if name not in tags:
        known = f"the tags are {', '.join(tags)}" if tags else "there are none"
        raise UsageError(f"{name!r} is no tag; {known}")
    append(lake, name, None, now)
    return tags[name]


def append(lake: Lake, name: str, release: int | None, now: datetime) -> None:
    """Write one row."""
    row = {"name": name, "release": release, "tagged_at": now}
    create_table(lake, TAGS, SCHEMA).append(pa.Table.from_pylist([row], schema=SCHEMA))
