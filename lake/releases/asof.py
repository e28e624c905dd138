"""As of: which release somebody means who names a number, a tag or a time."""

import re
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta

import pyarrow.compute as pc

from lake.clock import SHOP, shop_day
from lake.delta.files import Files
from lake.delta.table import data_of
from lake.errors import NoRelease, TableMissing, UsageError
from lake.paths import Lake
from lake.releases.release import (
    Release,
    current_release,
    find_release,
    read_release,
    releases_table,
)
from lake.releases.restores import refuse_left_out
from lake.releases.retention import read_kept
from lake.releases.tags import read_tags
from lake.settings import LakeSettings

DAY = re.compile(r"\d{4}-\d\d-\d\d")
WORDS = "a release's number, a tag, a day (2026-03-31) or a time with its zone (2026-03-31T18:00Z)"


def pick(lake: Lake, *, release: int | None = None, as_of: str | None = None) -> Release:
    """Return the release that a command's two options mean, the newest where neither is given."""
    if release is not None and as_of is not None:
        raise UsageError("--release and --as-of both name a release; give one of them")
    return find_release(lake, release) if as_of is None else resolve(lake, as_of)


def resolve(lake: Lake, text: str) -> Release:
    """Return the release that a person means by ``text``: its number, a tag of it, or a time.

    A time means the newest release published by then; a bare date is the end of that day of
    the shop. Raises NoRelease where nothing was published by then or under that number,
    UsageError for a time without a zone and for a word that is no tag.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return find_release(lake, int(text))
    if (before := moment(text)) is not None:
        return published_by(lake, before, text)
    tags = read_tags(lake)
    if text in tags:
        return find_release(lake, tags[text])
    known = f"the tags are {', '.join(sorted(tags))}" if tags else "no release is tagged"
    raise UsageError(f"{text!r} names no release: give {WORDS}; {known}")


def refuse_gone(lake: Lake, release: Release, *, now: datetime, settings: LakeSettings) -> None:
    """Raise NoRelease where the release may have lost files: it is old, and nothing keeps its versions.

    Only for an old release is it asked what is kept.
    """
    young = min(timedelta(days=settings.keep_days), timedelta(hours=settings.keep_all_hours))
    if release.published_at >= now - young:
        return
    if not read_kept(lake, settings, now=now).has(release):
        is_recent = release.published_at >= now - timedelta(days=settings.keep_days)
        day = f"{shop_day(release.published_at)}"
        last_of_day = f"; the last of that day is kept: {day}" if is_recent else ""
        raise NoRelease(
            f"release {release.release} is of {release.published_at:%Y-%m-%d} and has no tag: it is older"
            f" than what [lake] keep_days and keep_all_hours keep, and its files may be gone{last_of_day}"
        )


def refuse_absent(lake: Lake, release: Release, current: Release) -> None:
    """Raise NoRelease where a release was not restored with the lake, or files of it are gone.

    What it has in common with the current one is there; of the rest each table's folder is listed.
    """
    refuse_left_out(lake, release)
    held, files = {**current.tables, **current.consumed}, Files(lake.place)
    for name, at in {**release.tables, **release.consumed}.items():
        if held.get(name) == at:
            continue
        with suppress(TableMissing):
            if data_of(lake, name, at).keys() <= files.sizes(name.replace(".", "/")).keys():
                continue
        raise NoRelease(
            f"release {release.release} is not in this lake any more: files of {name}, version {at},"
            " are gone; name one that is kept, see `just releases`"
        )


def moment(text: str) -> datetime | None:
    """Return the last instant that a text means; None where it spells no time. Pure.

    Raises UsageError for a time that leaves its zone open.
    """
    try:
        if DAY.fullmatch(text):
            return end_of(date.fromisoformat(text))
        stamp = datetime.fromisoformat(text)
        if stamp.tzinfo is not None:
            return stamp.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    with suppress(ValueError):  # a week, or a day without dashes
        raise UsageError(f"{text}: write a day as {date.fromisoformat(text)}")
    raise UsageError(f"{text}: a time needs its zone: {text}Z, or {text}+03:00")


def end_of(day: date) -> datetime:
    """Return the last microsecond of a day of the shop. Pure."""
    midnight = datetime.combine(day + timedelta(days=1), time(), SHOP)
    return midnight.astimezone(UTC) - timedelta(microseconds=1)


def published_by(lake: Lake, instant: datetime, text: str) -> Release:
    """Return the newest release published at or before an instant. Raises NoRelease."""
    newest = current_release(lake)
    if newest is not None and newest.published_at <= instant:
        return newest
    if table := releases_table(lake):
        found = pc.max(table.read(["release"], pc.field("published_at") <= instant)["release"]).as_py()
        if found is not None:
            return read_release(table, found)
    first = find_release(lake, 1)
    raise NoRelease(
        f"nothing was published by {text}; the first release is of {first.published_at:%Y-%m-%dT%H:%M:%SZ}"
    )
