"""The commands of what leaves the lake: ``backup``, ``restore``, ``archive``."""

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
    "--release", "releases", type=int, multiple=True, help="An older release too; the current one always is."
)
@click.option("--prune", is_flag=True, help="Delete from DEST what only older backups needed.")
def backup(dest: str, releases: tuple[int, ...], prune: bool) -> None:
    """Copy to DEST what the current release needs, and the ledgers; only files that are new."""
    _, place = open_lake()
    copied = back_up(place, dest, now=datetime.now(UTC), releases=releases, prune=prune)
    removed = f", {copied.pruned} removed" if prune else ""
    print(f"release {copied.release} is in {Lake(root=dest).place}: {carried(copied)}{removed}")


@click.command()
@click.argument("source")
@click.argument("dest")
def restore(source: str, dest: str) -> None:
    """Copy the backup in SOURCE to DEST, an empty place; then set [lake] root to it.

    One that was cut short goes on where it stopped.
    """
    place = Lake(root=dest)
    copied = restore_backup(source, place)
    refresh_catalogue(place)
    print(f"release {copied.release} is restored in {place.place}: {carried(copied)}")


@click.command()
@click.argument("month", required=False)
def archive(month: str | None) -> None:
    """Keep for good what the lake said when MONTH (YYYY-MM) ended; the last month if not said."""
    _, place = open_lake()
    now = datetime.now(UTC)
    wanted = archives.month_of(month) if month else archives.month_before(now)
    record = archives.archive(place, wanted, now=now)
    where = archives.archive_lake(place, wanted).place
    print(f"release {record.release} is archived in {where}: {len(record.tables)} tables without contacts")


def carried(copied: Copied) -> str:
    """Return what a copy carried, in words."""
    return f"{copied.files} files, {copied.bytes / 1e6:.2f} MB copied; {copied.held} were there"


COMMANDS: list[click.Command] = [backup, restore, archive]
