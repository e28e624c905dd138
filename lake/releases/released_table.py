"""Released table: a table at the version that a release references, with the rows that it recorded."""

from lake.delta.table import Table, open_table
from lake.errors import TableDamaged
from lake.paths import Lake
from lake.releases.release import Release


def open_released(lake: Lake, release: Release, name: str) -> Table:
    """Open a table of a release. Only its log is read.

    Raises TableDamaged if the log does not have as many rows as the release recorded, or is damaged
    itself, and TableMissing if the version is missing.
    """
    table = open_table(lake, name, {**release.tables, **release.consumed}[name])
    refuse_difference(release, table)
    return table


def refuse_difference(release: Release, table: Table) -> None:
    """Raise TableDamaged if a table does not have as many rows as the release recorded."""
    expected = release.rows.get(table.name)
    if expected is None or release.tables.get(table.name) != table.version:
        return
    rows = sum(file.rows for file in table.files())
    if rows != expected:
        raise TableDamaged(
            f"{table.name}: version {table.version} has {rows} rows, and had {expected} when release"
            f" {release.release} was published: its log was changed; run `just repair`"
        )
