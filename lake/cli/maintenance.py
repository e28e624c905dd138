"""Maintenance: the commands ``compact``, ``vacuum``, ``maintain``, ``repair`` and ``size``."""

from datetime import UTC, datetime

import click
import msgspec
import pyarrow as pa

from lake.cli.main import open_lake
from lake.cli.output import FORMATS, JSON, show, show_table
from lake.maintenance import vacuum as maintenance
from lake.maintenance.compaction import compact as merge
from lake.maintenance.log_repair import repair_logs
from lake.maintenance.vacuum import Reclaimed
from lake.releases.release import COMPACTION, current_release
from lake.settings import LakeSettings


@click.command()
def compact() -> None:
    """Compact the small files of bronze and the ledgers.

    A release of the compacted files is published. No row changes.
    """
    _, place = open_lake()
    before = current_release(place)
    done = merge(place, now=datetime.now(UTC))
    for table in done:
        print(f"{table.table}: {table.files_before} files compacted into {table.files_after}")
    after = current_release(place)
    if after and after != before and after.kind == COMPACTION:
        print(f"release {after.release} references them and serves the same rows as release {after.parent}")
    elif not done:
        print("nothing to compact")


@click.command()
@click.option("--yes", is_flag=True, help="Delete the files; by default they are only listed.")
def vacuum(yes: bool) -> None:
    """List or delete the files that no retained release needs."""
    config, place = open_lake()
    tables = maintenance.vacuum(place, config.section(LakeSettings), now=datetime.now(UTC), dry_run=not yes)
    print_reclaimed(tables, "deleted" if yes else "can be deleted; `just vacuum --yes` deletes them")


@click.command()
def maintain() -> None:
    """Compact, clean up the logs, write checkpoints and vacuum.

    Other commands may run concurrently.
    """
    config, place = open_lake()
    tables = maintenance.maintain(place, config.section(LakeSettings), now=datetime.now(UTC))
    print_reclaimed(tables, "deleted")


@click.command()
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
def size(form: str) -> None:
    """Show the size of each table in bytes.

    The bytes are live, retained for releases, or reclaimable; files and log are counted too.
    """
    config, place = open_lake()
    tables = maintenance.sizes(place, config.section(LakeSettings), now=datetime.now(UTC))
    rows = [{**msgspec.structs.asdict(table), "total": table.total} for table in tables]
    if form != "table":
        show(pa.Table.from_pylist(rows), form)
        return
    names = list(rows[0]) if rows else ["table", "total"]
    sums = ["all", *(sum(row[name] for row in rows) for name in names[1:])]
    cells = [*([row[name] for name in names] for row in rows), sums]
    show_table(names, cells, spare=("log_entries", "files", "log"), whole=JSON)


@click.command()
def repair() -> None:
    """Make tables readable again whose log the disk or another program has changed.

    Commits that are lost leave with their versions; rows of bronze are recovered from their files.
    """
    config, place = open_lake()
    done = repair_logs(place, config.section(LakeSettings))
    for table in done:
        lost = f"{', '.join(table.lost)} set aside" if table.lost else "a part of its log was missing"
        print(f"{table.table}: {lost}; rows recovered: {table.rows}")
    if any(table.table.startswith("bronze.") for table in done):
        print("run `just ingest sweep --all`: it reads from KeyCRM what could not be recovered")
    if not done:
        print("every log is whole")


def print_reclaimed(tables: list[Reclaimed], verb: str) -> None:
    """Print the files and bytes that a vacuum deleted, or would delete, in each table and in total."""
    for table in tables:
        print(f"{table.table}: {table.files} files, {table.bytes / 1e6:.2f} MB")
    files, size = sum(table.files for table in tables), sum(table.bytes for table in tables)
    print(f"{files} files, {size / 1e6:.2f} MB {verb}" if tables else "nothing to delete")


COMMANDS: list[click.Command] = [compact, vacuum, maintain, repair, size]
