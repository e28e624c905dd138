"""As of: the release that a number, a tag or a time refers to."""

import re
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta

import pyarrow.compute as pc

from lake.clock import shop_day, shop_zone
from lake.delta.files import Files
from lake.delta.tables import data_of
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
from lake.releases.retention import read_retention
from lake.releases.tags import read_tags
from lake.settings import LakeSettings

DAY = re.compile(r"\d{4}-\d\d-\d\d")
# Ways to name a release, for error messages.
FORMS = "a release's number, a tag, a day (2026-03-31) or a time with its zone (2026-03-31T18:00Z)"


def pick(lake: Lake, *, release: int | None = None, as_of: str | None = None) -> Release:
    """Return the release that a command's two options name, or the newest if neither is given."""
    if release is not None and as_of is not None:
        raise UsageError("--release and --as-of both name a release; give one of them")
    return find_release(lake, release) if as_of is None else resolve(lake, as_of)


def resolve(lake: Lake, text: str) -> Release:
    """Return the release that ``text`` names: by its number, by a tag, or by a time.

    A time names the newest release published by then, and a date the newest by the end of that
    day of the shop. Raises NoRelease if there is no such release, and UsageError if a time has no
    zone or the text is no tag.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return find_release(lake, int(text))
    if (instant := parse_time(text)) is not None:
        return release_published_by(lake, instant, text)
    tags = read_tags(lake)
    if text in tags:
        return find_release(lake, tags[text])
    known = f"the tags are {', '.join(sorted(tags))}" if tags else "no release is tagged"
    raise UsageError(f"{text!r} names no release: give {FORMS}; {known}")


def refuse_unretained(lake: Lake, release: Release, *, now: datetime, settings: LakeSettings) -> None:
    """Raise NoRelease if the release is no longer retained, because vacuum may have deleted its files.

    The ledger of releases is read only if the release is old.
    """
    young = min(timedelta(days=settings.keep_days), timedelta(hours=settings.keep_all_hours))
    if release.published_at >= now - young:
        return
    if not read_retention(lake, settings, now=now).has(release):
        is_recent = release.published_at >= now - timedelta(days=settings.keep_days)
        day = f"{shop_day(release.published_at)}"
        last_of_day = f"; the last release of that day is retained: {day}" if is_recent else ""
        raise NoRelease(
            f"release {release.release} is of {release.published_at:%Y-%m-%d} and has no tag: it is older"
            f" than [lake] keep_days and keep_all_hours retain, and its files may be deleted{last_of_day}"
        )


def refuse_absent(lake: Lake, release: Release, current: Release) -> None:
    """Raise NoRelease if a release was not restored with the lake or has lost files.

    Versions that the current release has too need no check. For any other version, the table's
    folder is listed.
    """
    refuse_left_out(lake, release)
    present, files = {**current.tables, **current.consumed}, Files(lake.place)
    for name, version in {**release.tables, **release.consumed}.items():
        if present.get(name) == version:
            continue
        with suppress(TableMissing):
            if data_of(lake, name, version).keys() <= files.sizes(name.replace(".", "/")).keys():
                continue
        raise NoRelease(
            f"release {release.release} is not in this lake any more: files of {name}, version {version},"
            " are missing; name a retained release, see `just releases`"
        )


def parse_time(text: str) -> datetime | None:
    """Return the instant of a time, or the last instant of a day; None if the text is neither. Pure.

    Raises UsageError if a time has no zone, or a date is not written as 2026-03-31.
    """
    try:
        if DAY.fullmatch(text):
            return end_of_day(date.fromisoformat(text))
        stamp = datetime.fromisoformat(text)
        if stamp.tzinfo is not None:
            return stamp.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    with suppress(ValueError):  # an ISO week, or a date without dashes
        raise UsageError(f"{text}: write a day as {date.fromisoformat(text)}")
    raise UsageError(f"{text}: a time needs its zone: {text}Z, or {text}+03:00")


def end_of_day(day: date) -> datetime:
    """Return the last microsecond of a day of the shop, in UTC. Pure."""
    midnight = datetime.combine(day + timedelta(days=1), time(), shop_zone())
    return midnight.astimezone(UTC) - timedelta(microseconds=1)


def release_published_by(lake: Lake, instant: datetime, text: str) -> Release:
    """Return the newest release published at or before ``instant``. Raises NoRelease if there is none."""
    newest = current_release(lake)
    if newest is not None and newest.published_at <= instant:
        return newest
    if table := releases_table(lake):
        number = pc.max(table.read(["release"], pc.field("published_at") <= instant)["release"]).as_py()
        if number is not None:
            return read_release(table, number)
    first = find_release(lake, 1)
    raise NoRelease(
        f"nothing was published by {text}; the first release is of {first.published_at:%Y-%m-%dT%H:%M:%SZ}"
    )
