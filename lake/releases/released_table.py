"""Released table: a table at the version that a release references, with the files that it recorded."""

from collections.abc import Mapping
from contextlib import suppress

from lake.delta.log_files import list_log
from lake.delta.table import Table
from lake.delta.tables import has_only_data, open_table
from lake.errors import TableDamaged, TableMissing
from lake.paths import Lake
from lake.releases.release import Release


def open_released(lake: Lake, release: Release, name: str) -> Table:
    """Open a table of a release. Only its log is read.

    Raises TableDamaged if the log does not have the files or rows that the release recorded, or is
    damaged itself, and TableMissing if the version is missing.
    """
    table = open_table(lake, name, versions_of(release)[name])
    refuse_difference(release, table)
    return table


def refuse_difference(release: Release, table: Table) -> None:
    """Raise TableDamaged if a table of the release does not have the rows and files that were recorded.

    A release of an older version of this project recorded no files.
    """
    if versions_of(release).get(table.name) != table.version:
        return
    expected = release.rows.get(table.name)
    rows = sum(file.rows for file in table.files())
    if expected is not None and rows != expected:
        raise difference(release, table, f"has {rows} rows, and had {expected}")
    if has_other_files(release, table):
        raise difference(release, table, "has other files than it had")


def refuse_lost(lake: Lake, release: Release) -> None:
    """Raise TableDamaged if the log of a table ends before the version that a release was built from.

    The next commit would take the number of the lost version.
    """
    for name, at in release.consumed.items() if lake.is_local else ():
        head = list_log(lake.uri(name)).head
        if head < at and (head >= 0 or has_only_data(lake, name)):
            raise TableDamaged(f"{name}: its log ends before version {at}; run `just repair`")


def changed_versions(lake: Lake, release: Release) -> dict[str, int]:
    """Return ``{"layer.table": version}`` of those that a whole log shows with other files than they had."""
    changed = {}
    for name, version in versions_of(release).items():
        with suppress(TableMissing, TableDamaged):
            if has_other_files(release, open_table(lake, name, version)):
                changed[name] = version
    return changed


def has_other_files(release: Release, table: Table) -> bool:
    """Return True if a version has other files than the release recorded."""
    digest = release.digests.get(table.name)
    return digest is not None and table.digest() != digest


def difference(release: Release, table: Table, fact: str) -> TableDamaged:
    """Return the error for a table whose log is no longer that of the release."""
    return TableDamaged(
        f"{table.name}: version {table.version} {fact} when release {release.release} was published: its log"
        " was changed; run `just repair`"
    )


def versions_of(release: Release) -> dict[str, int]:
    """Return ``{"layer.table": version}`` of all that a release shows and was built from."""
    return {**release.tables, **release.consumed}


def digests_of(
    lake: Lake, versions: Mapping[str, int], parent: Release | None, opened: Mapping[str, Table]
) -> dict[str, str]:
    """Return the digest of the files of each of these versions.

    ``opened`` tables are not opened again, and those that the parent names as well are not opened.
    """
    known = versions_of(parent) if parent else {}
    digests = {}
    for name, version in versions.items():
        table = opened.get(name)
        if table and table.version == version:
            digests[name] = table.digest()
        elif parent and known.get(name) == version and name in parent.digests:
            digests[name] = parent.digests[name]
        else:
            digests[name] = open_table(lake, name, version).digest()
    return digests
