"""Backups: the commands ``backup``, ``restore`` and ``archive``, which copy a lake or a part of it."""

from datetime import UTC, datetime

import click

from lake.backup import archive as archives
from lake.backup.backup import back_up
from lake.backup.backup import restore as restore_backup
from lake.backup.copy import Copied
from lake.cli.main import open_lake
from lake.paths import Lake
from lake.query.catalogue import refresh_catalogue


@click.command()
@click.argument("dest")
@click.option(
    "--release",
    "releases",
    type=int,
    multiple=True,
    help="Include this older release too; the current one is always included.",
)
@click.option("--prune", is_flag=True, help="Delete the files in DEST that only older backups needed.")
def backup(dest: str, releases: tuple[int, ...], prune: bool) -> None:
    """Copy the files of the current release, and the ledgers, to DEST. Only new files are copied."""
    _, place = open_lake()
    copied = back_up(place, dest, now=datetime.now(UTC), releases=releases, prune=prune)
    removed = f", {copied.pruned} removed" if prune else ""
    print(f"release {copied.release} is backed up in {Lake(root=dest).place}: {summary(copied)}{removed}")


@click.command()
@click.argument("source")
@click.argument("dest")
def restore(source: str, dest: str) -> None:
    """Copy the backup in SOURCE to DEST, an empty place. Set [lake] root to DEST after that.

    If a restore was interrupted, run it again; it continues.
    """
    place = Lake(root=dest)
    copied = restore_backup(source, place)
    refresh_catalogue(place)
    print(f"release {copied.release} is restored in {place.place}: {summary(copied)}")


@click.command()
@click.argument("month", required=False)
def archive(month: str | None) -> None:
    """Archive the release of a month's end permanently.

    This is the release that was current when MONTH (YYYY-MM) ended; default: the last ended month.
    """
    _, place = open_lake()
    now = datetime.now(UTC)
    first = archives.month_of(month) if month else archives.month_before(now)
    record = archives.archive(place, first, now=now)
    target = archives.archive_lake(place, first).place
    print(f"release {record.release} is archived in {target}: {len(record.tables)} tables without contacts")


def summary(copied: Copied) -> str:
    """Return the numbers of a copy in words."""
    return f"{copied.files} files, {copied.bytes / 1e6:.2f} MB copied; {copied.held} were there already"


COMMANDS: list[click.Command] = [backup, restore, archive]
