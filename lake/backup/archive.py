"""Archive: the release of a month's end, retained permanently as self-contained Delta tables.

``archive/2026-03`` has the layout of a lake: silver without contacts, gold, and the release's own
row in ``ops/releases``. This row is written last. An archive without it is unfinished, and the next
attempt continues it. Maintenance never changes an archive. A release in the lake is deleted at the
end of its retention, but an archive does not depend on the lake.
"""

from collections.abc import Collection
from datetime import date, datetime, timedelta

import msgspec
import structlog
from deltalake import CommitProperties, Schema
from deltalake.exceptions import DeltaError
from deltalake.transaction import create_table_with_add_actions

from lake.clock import shop_day, shop_zone
from lake.delta.commits import columns_of, evidence_of
from lake.delta.durability import sync_files
from lake.delta.properties import statistics
from lake.delta.tables import open_table, table_exists
from lake.delta.writer import stage
from lake.errors import CommitConflict, LakeError, NoRelease, TableDamaged, TableMissing, UsageError
from lake.paths import Lake
from lake.releases.column_facts import read_personal_columns
from lake.releases.release import Release, current_release, find_release, list_outlines, publish
from lake.releases.released_table import open_released
from lake.releases.restores import refuse_left_out

log = structlog.get_logger()
LAYERS = ("silver", "gold")
PROPERTIES = {"delta.enableExpiredLogCleanup": "false"}


def archive_lake(lake: Lake, month: date) -> Lake:
    """Return the place of a month's archive, which opens like a lake."""
    return msgspec.structs.replace(lake, root=f"{lake.place}/archive/{month:%Y-%m}")


def read_archive(lake: Lake, month: date) -> Release | None:
    """Return the release in a month's archive; None if there is no finished archive."""
    return current_release(archive_lake(lake, month))


def archive_due(lake: Lake, now: datetime) -> list[date]:
    """Archive the ended months since the newest archive; return them, the oldest first.

    Call it after a publish; if nothing is due it reads one ledger. A month that can't be archived any
    more is logged and left out. Months before a damaged archive are not looked at.
    """
    months: list[date] = []
    month = month_before(now)
    while not is_archived(lake, month) and release_at(lake, month) is not None:
        months.append(month)
        month = (month - timedelta(days=1)).replace(day=1)
    return [month for month in reversed(months) if attempt(lake, month, now)]


def is_archived(lake: Lake, month: date) -> bool:
    """Return True if a month has a finished archive, or, with a warning in the log, a damaged one."""
    try:
        return read_archive(lake, month) is not None
    except TableDamaged as error:
        log.warning("archive.damaged", month=f"{month:%Y-%m}", reason=str(error))
        return True


def attempt(lake: Lake, month: date, now: datetime) -> bool:
    """Archive a month; return False, with a warning in the log, if its release can't be read any more."""
    try:
        archive(lake, month, now=now)
    except LakeError as error:
        log.warning("archive.missed", month=f"{month:%Y-%m}", reason=str(error))
        return False
    return True


def archive(lake: Lake, month: date, *, now: datetime) -> Release:
    """Copy the release that was current when the month ended in Kyiv; return the archive's record.

    A finished archive is not changed, even if another process finished it during this call. Raises
    UsageError if the month has not ended, LakeError if no release declares the personal columns,
    NoRelease if nothing was published by its end or the release was not restored with the lake, and
    TableMissing if files of the release are missing.
    """
    if month > month_before(now):
        raise UsageError(
            f"{month:%Y-%m} has not ended; the last month to archive is {month_before(now):%Y-%m}"
        )
    if done := read_archive(lake, month):
        return done
    release = release_at(lake, month)
    if release is None:
        raise NoRelease(f"{month:%Y-%m}: nothing was published by its end; see `just releases`")
    refuse_left_out(lake, release)
    target = archive_lake(lake, month)
    names = [name for name in sorted(release.tables) if name.split(".")[0] in LAYERS]
    personal = read_personal_columns(lake, release)
    versions = {name: copy_table(lake, name, release, target, personal, now=now) for name in names}
    record = msgspec.structs.replace(
        release,
        parent=None,
        tables=versions,
        consumed={},
        digests={},
        rows={name: release.rows[name] for name in names if name in release.rows},
        money={name: release.money[name] for name in names if name in release.money},
    )
    try:
        publish(target, record)
    except CommitConflict:  # another process wrote the same archive concurrently
        if done := read_archive(lake, month):
            return done
        raise
    log.info("archive.written", month=f"{month:%Y-%m}", release=release.release, tables=len(names))
    return record


def copy_table(
    lake: Lake,
    name: str,
    release: Release,
    target: Lake,
    personal: Collection[tuple[str, str]],
    *,
    now: datetime,
) -> int:
    """Write a released table without its ``personal`` columns in one commit; return the archive's version.

    A table that exists already is complete: an earlier attempt wrote it before it was interrupted.
    """
    if not table_exists(target, name):
        table = open_released(lake, release, name)
        columns = [column for column in table.schema.names if (name, column) not in personal]
        try:
            rows = table.read(columns)
        except FileNotFoundError:
            raise TableMissing(
                f"{name}: files of release {release.release} are missing in {lake.place}; nothing is archived"
            ) from None
        if rows.num_rows != release.rows.get(name, rows.num_rows):
            raise LakeError(
                f"{name} has {rows.num_rows} rows, release {release.release} was published with"
                f" {release.rows[name]}; nothing is archived"
            )
        configuration = PROPERTIES | statistics(rows.schema, table.partition_by)
        staged = stage(name, target.uri(name), rows, partition_by=table.partition_by)
        if target.is_local and target.durable:
            sync_files(target.uri(name), [file.path for file in staged.files])
        try:
            create_table_with_add_actions(
                target.uri(name),
                Schema.from_arrow(rows.schema),
                [file.add_action(int(now.timestamp() * 1000), is_change=True) for file in staged.files],
                mode="error",
                partition_by=table.partition_by,
                configuration=configuration,
                # Delta would retry, and append to the rows that another process wrote.
                commit_properties=CommitProperties(
                    max_commit_retries=0,
                    custom_metadata=evidence_of(0, staged.files, [])
                    | columns_of(rows.schema, table.partition_by, configuration),
                ),
            )
        except DeltaError:  # another process wrote the same rows concurrently
            if not table_exists(target, name):
                raise
    return open_table(target, name).version  # this seals the commit, and syncs it


def release_at(lake: Lake, month: date) -> Release | None:
    """Return the release that was current when the month ended in Kyiv; None if there was none yet."""
    end = month_after(month)
    by_then = [release.release for release in list_outlines(lake) if release.published_at < end]
    return find_release(lake, max(by_then)) if by_then else None


def month_before(now: datetime) -> date:
    """Return the first day of the last month that ended in Kyiv before ``now``. Pure."""
    return (shop_day(now).replace(day=1) - timedelta(days=1)).replace(day=1)


def month_after(month: date) -> datetime:
    """Return the instant at which a month ends in Kyiv. Pure."""
    first = (month.replace(day=1) + timedelta(days=31)).replace(day=1)
    return datetime(first.year, first.month, 1, tzinfo=shop_zone())


def month_of(text: str) -> date:
    """Return the first day of a month written as ``YYYY-MM``. Raises UsageError. Pure."""
    try:
        if len(text) != 7:
            raise ValueError
        return date.fromisoformat(f"{text}-01")
    except ValueError:
        raise UsageError(f"{text}: write the month as YYYY-MM, as in 2026-03") from None
