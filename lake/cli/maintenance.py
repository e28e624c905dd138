"""Maintenance: the commands ``compact``, ``vacuum``, ``maintain``, ``repair`` and ``size``."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import click
import msgspec
import pyarrow as pa

from lake.backup.backup import read_manifest
from lake.cli.main import open_lake
from lake.cli.output import FORMATS, JSON, show, show_table
from lake.delta.damage import REPAIR
from lake.errors import TableDamaged
from lake.maintenance import vacuum as maintenance
from lake.maintenance.compaction import Compacted
from lake.maintenance.compaction import compact as merge
from lake.maintenance.damaged_tables import TablesLeftOut
from lake.maintenance.file_repair import repair_files
from lake.maintenance.ledger_repair import drop_damaged_files
from lake.maintenance.log_repair import repair_logs
from lake.maintenance.vacuum import Reclaimed
from lake.maintenance.verification import verify
from lake.paths import Lake
from lake.releases.release import COMPACTION, current_release
from lake.settings import LakeSettings

Done = TypeVar("Done")
# A ledger follows from nothing else.
LEDGER_REMEDY = "run `just repair --from BACKUP`, or, without a backup, `just repair --forget`"


@click.command()
def compact() -> None:
    """Compact the small files of bronze and the ledgers.

    A release of the compacted files is published. No row changes.
    """
    _, place = open_lake()
    before = current_release(place)
    done = do(lambda: merge(place, now=datetime.now(UTC)), print_compacted)
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
    settings, now = config.section(LakeSettings), datetime.now(UTC)
    verb = "deleted" if yes else "can be deleted; `just vacuum --yes` deletes them"
    do(
        lambda: maintenance.vacuum(place, settings, now=now, dry_run=not yes),
        partial(print_reclaimed, verb=verb),
    )


@click.command()
def maintain() -> None:
    """Vacuum, clean up the logs, compact, write checkpoints.

    Other commands may run concurrently. A table with a damaged log is left as it is: exit code 1.
    """
    config, place = open_lake()
    settings, now = config.section(LakeSettings), datetime.now(UTC)
    do(lambda: maintenance.maintain(place, settings, now=now), partial(print_reclaimed, verb="deleted"))


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
@click.option("--from", "backup", help="A backup of the lake, to copy files from that can't be repaired.")
@click.option("--forget", is_flag=True, help="Remove damaged files of ledgers: what they recorded is lost.")
def repair(backup: str | None, forget: bool) -> None:
    """Repair the files that the disk or another program has changed, as far as their content is proven.

    Commits that are lost leave with their versions; rows of bronze are recovered from their files.
    """
    config, place = open_lake()
    if backup is not None:
        read_manifest(backup)  # raises UsageError if there is no backup
    settings = config.section(LakeSettings)
    files = repair_files(place, Lake(root=backup) if backup else None)
    for file in files:
        print(f"{file.path}: {file.how or 'its content is not known'}")
    for path in drop_damaged_files(place) if forget else ():
        print(f"{path}: removed, what it recorded is lost")
    try:
        done = repair_logs(place, settings)
        for table in done:
            lost = f"{', '.join(table.lost)} set aside" if table.lost else "a part of its log was missing"
            print(f"{table.table}: {lost}; rows recovered: {table.rows}")
        if any(table.table.startswith("bronze.") for table in done):
            print("run `just ingest sweep --all`: it reads from KeyCRM what could not be recovered")
        damages = verify(place, settings, now=datetime.now(UTC)).damages
    except TableDamaged as error:
        if not str(error).startswith("ops."):
            raise
        raise TableDamaged(f"{str(error).removesuffix(f'; {REPAIR}')}; {LEDGER_REMEDY}") from None
    for damage in damages:
        if damage.table.startswith("ops.") and not damage.is_of_log:
            print(f"{damage.path}: {LEDGER_REMEDY}")
        elif damage.is_archived or not damage.is_current:
            print(damage.line)
    if not (done or files or damages):
        print("every file is as it was written")


def do(work: Callable[[], list[Done]], show: Callable[[list[Done]], None]) -> list[Done]:
    """Do a work and show the result, also if it raises TablesLeftOut."""
    try:
        done = work()
    except TablesLeftOut as error:
        show(error.done)
        raise
    show(done)
    return done


def print_compacted(tables: list[Compacted]) -> None:
    """Print the numbers of files of each compacted table."""
    for table in tables:
        print(f"{table.table}: {table.files_before} files compacted into {table.files_after}")


def print_reclaimed(tables: list[Reclaimed], verb: str) -> None:
    """Print the files and bytes that a vacuum deleted, or would delete, in each table and in total."""
    for table in tables:
        print(f"{table.table}: {table.files} files, {table.bytes / 1e6:.2f} MB")
    files, size = sum(table.files for table in tables), sum(table.bytes for table in tables)
    print(f"{files} files, {size / 1e6:.2f} MB {verb}" if tables else "nothing to delete")


COMMANDS: list[click.Command] = [compact, vacuum, maintain, repair, size]
