"""The commands of maintenance: compact, vacuum, maintain, size."""

from datetime import UTC, datetime

import click
import msgspec
import pyarrow as pa

from lake.cli.main import open_lake
from lake.cli.output import FORMATS, JSON, show, show_table
from lake.maintenance import vacuum as maintenance
from lake.maintenance.compaction import compact as merge
from lake.maintenance.vacuum import Reclaimed
from lake.releases.release import COMPACTION, current_release
from lake.settings import LakeSettings


@click.command()
def compact() -> None:
    """Merge the small files of bronze and the ledgers, and publish a release of them. Rows stay the same."""
    _, place = open_lake()
    before = current_release(place)
    done = merge(place, now=datetime.now(UTC))
    for one in done:
        print(f"{one.table}: {one.files_before} files are {one.files_after}")
    after = current_release(place)
    if after and after != before and after.kind == COMPACTION:
        print(f"release {after.release} names them, and shows what release {after.parent} showed")
    elif not done:
        print("nothing to compact")


@click.command()
@click.option("--yes", is_flag=True, help="Delete; without it nothing is.")
def vacuum(yes: bool) -> None:
    """Show the files that no kept release needs; with --yes, delete them."""
    config, place = open_lake()
    found = maintenance.vacuum(place, config.section(LakeSettings), now=datetime.now(UTC), dry_run=not yes)
    tell(found, "deleted" if yes else "could be deleted; `just vacuum --yes` does it")


@click.command()
def maintain() -> None:
    """Compact, clean up the logs, make checkpoints and vacuum; safe beside everything else."""
    config, place = open_lake()
    tell(maintenance.maintain(place, config.section(LakeSettings), now=datetime.now(UTC)), "deleted")


@click.command()
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
def size(form: str) -> None:
    """Show what each table takes: live, retained for releases, reclaimable; files and log. In bytes."""
    config, place = open_lake()
    found = maintenance.sizes(place, config.section(LakeSettings), now=datetime.now(UTC))
    rows = [{**msgspec.structs.asdict(one), "total": one.total} for one in found]
    if form != "table":
        show(pa.Table.from_pylist(rows), form)
        return
    names = list(rows[0]) if rows else ["table", "total"]
    sums = ["all", *(sum(row[name] for row in rows) for name in names[1:])]
    table = [*([row[name] for name in names] for row in rows), sums]
    show_table(names, table, spare=("log_entries", "files", "log"), whole=JSON)


def tell(found: list[Reclaimed], verb: str) -> None:
    """Print what vacuum found."""
    for one in found:
        print(f"{one.table}: {one.files} files, {one.bytes / 1e6:.2f} MB")
    files, size = sum(one.files for one in found), sum(one.bytes for one in found)
    print(f"{files} files, {size / 1e6:.2f} MB {verb}" if found else "nothing to delete")


COMMANDS: list[click.Command] = [compact, vacuum, maintain, size]
