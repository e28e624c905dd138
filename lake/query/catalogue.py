"""Catalogue: ``lake.duckdb``, a small database of views for analysts who use their own DuckDB.

It has the same schemas as a session over the current release. DuckDB 1.5 and 2 open it
read-only (``duckdb -readonly data/lake/lake.duckdb``). A connection keeps the release that was
current when it opened the file; the next connection gets the newest release.

The views refer to data files by the lake's absolute path. If the lake was moved or is mounted
elsewhere, ``set variable keylake_root = '/new/path'`` makes the views work. The next publish
writes the new path.

A lake in an object store has no catalogue, because a DuckDB without extensions opens neither a
database nor a Parquet file there. ``just sql`` reads every lake.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import duckdb
import structlog

from lake.delta.table import Table
from lake.delta.tables import list_tables, open_table
from lake.errors import LakeError, TableDamaged
from lake.lock import locked_lake
from lake.paths import LAYERS, Lake
from lake.query import quote
from lake.query.session import (
    CURRENT,
    Connection,
    connect,
    duckdb_types,
    empty_select,
    parquet_scan,
    release_row,
)
from lake.releases.release import RELEASES, Release, current_release, find_release
from lake.releases.release import publish as publish_release
from lake.releases.released_table import refuse_difference
from lake.settings import LakeSettings

log = structlog.get_logger()

# Storage format of the file; DuckDB 1.x can't open the default format of DuckDB 2.
STORAGE = "v1.2.0"
ROOT = "keylake_root"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FAILURES = (OSError, duckdb.Error, LakeError)


def publish(lake: Lake, release: Release, *, opened: Mapping[str, Table] = MappingProxyType({})) -> Release:
    """Publish the release, then write its catalogue; return the release as published.

    ``opened`` holds tables that the caller has opened already. They are used if their version is
    the release's. If the catalogue can't be written, the release is published all the same: the
    old file stays valid for its own release, and the next publish or refresh replaces it.
    Raises the errors of ``lake.releases.release.publish``, and TableDamaged if releases were lost.
    """
    refuse_lost_releases(lake)
    release = publish_release(lake, release)
    try:
        write_catalogue(lake, release, opened=opened)
    except FAILURES as error:
        log.warning("lake.catalogue_not_written", release=release.release, reason=str(error))
    return release


def refresh_catalogue(lake: Lake) -> bool:
    """Write the catalogue if it does not serve the newest release; return True if it was written.

    The catalogue is one release behind if a process was killed after it had published. Raises
    TableDamaged if releases were lost.
    """
    refuse_lost_releases(lake)
    newest = current_release(lake)
    if newest is None or lake.catalogue is None or catalogue_release(lake) == newest.release:
        return False
    write_catalogue(lake, newest)
    return True


def show_ledgers(lake: Lake) -> None:
    """Write the catalogue again with the ledgers' current files; vacuum deletes the old ones later."""
    release = current_release(lake)
    try:
        if release:
            write_catalogue(lake, release)
    except FAILURES as error:
        log.warning("lake.ledger_views_not_written", reason=str(error))


def write_catalogue(
    lake: Lake, release: Release, *, opened: Mapping[str, Table] = MappingProxyType({})
) -> None:
    """Replace the catalogue atomically by one of the release; a lake in an object store has none.

    If a newer release exists by now, the catalogue serves that one. So concurrent writers can't
    leave an older release in it. Raises LakeError if another writer does not end in time.
    """
    if lake.catalogue is None:
        return
    with locked_lake(lake, "catalogue"):
        newest = current_release(lake) or release
        newer = max(release, newest, key=lambda candidate: candidate.release)
        file = lake.catalogue.with_name(f"{lake.catalogue.name}.new")
        with connect(LakeSettings()) as connection:
            old = reusable_versions(connection, lake, newer.code_version)
            try:
                write_views(connection, lake, newer, file, old=old, opened=opened)
            except duckdb.Error:  # the old file is damaged in a part that was not read before
                write_views(connection, lake, newer, file, old={}, opened=opened)
        os.replace(file, lake.catalogue)


def catalogue_release(lake: Lake) -> int | None:
    """Return the number of the release that the catalogue serves; None if it is not one of this lake."""
    with connect(LakeSettings()) as connection:
        content = read_catalogue(connection, lake)
    return content[0].release if content else None


def read_catalogue(connection: Connection, lake: Lake) -> tuple[Release, bool] | None:
    """Return the release that the catalogue serves, and True if its views use the lake's present path.

    The release's time is compared too, not only its number: the lake may have been built again or
    restored while the file stayed.
    """
    if lake.catalogue is None or not lake.catalogue.exists():
        return None
    here = f"select count(*) from duckdb_views() where contains(sql, {quote.literal(root(lake.place))})"
    current = f"select release, epoch_us(published_at) from made.{CURRENT}"
    try:
        with attach(connection, lake.catalogue, "read_only"):
            ((number, published_at),) = connection.execute(current).fetchall()
            ((views,),) = connection.execute(here).fetchall()
        release = find_release(lake, int(number))
    except (duckdb.Error, LakeError):
        return None
    is_same = release.published_at == EPOCH + timedelta(microseconds=published_at)
    return (release, views > 0) if is_same else None


def refuse_lost_releases(lake: Lake) -> None:
    """Raise TableDamaged if the catalogue shows that releases were lost: their numbers would be reused."""
    if lost := lost_releases(lake):
        raise TableDamaged(
            f"{RELEASES}: its log has lost release {lost[-1]}, which {lake.catalogue} has; run `just repair`"
        )


def lost_releases(lake: Lake) -> list[int]:
    """Return the releases that the catalogue has and the ledger has lost.

    The catalogue is read with the files of the ledger that it names. It is one of another lake that was
    here if these files are not there, or if the ledger's newest release has another time.
    """
    if lake.catalogue is None or not lake.catalogue.exists():
        return []
    query = f"select release, epoch_us(published_at) from made.{RELEASES} where release >= ?"
    try:
        with connect(LakeSettings()) as connection, attach(connection, lake.catalogue, "read_only"):
            ((number,),) = connection.execute(f"select release from made.{CURRENT}").fetchall()
            # Read after the catalogue, which is written after its release is published.
            newest = current_release(lake)
            if newest and number <= newest.release:
                return []
            connection.execute(f"set variable {ROOT} = {quote.literal(lake.place)}")
            times = dict(connection.execute(query, [newest.release if newest else 1]).fetchall())
    except duckdb.Error:
        return []
    if newest and EPOCH + timedelta(microseconds=times.get(newest.release, -1)) != newest.published_at:
        return []
    return sorted(number for number in times if not newest or number > newest.release)


def reusable_versions(connection: Connection, lake: Lake, code_version: str) -> dict[str, int]:
    """Return the versions whose views can be reused; none if the path or the code has changed."""
    content = read_catalogue(connection, lake)
    if content is None:
        return {}
    release, is_here = content
    is_usable = is_here and release.code_version == code_version
    return {**release.tables, **release.consumed} if is_usable else {}


def write_views(
    connection: Connection,
    lake: Lake,
    release: Release,
    file: Path,
    *,
    old: Mapping[str, int],
    opened: Mapping[str, Table],
) -> None:
    """Write a database with a view of each table of the release, and of each ledger at its head.

    ``old`` holds the versions that the present catalogue serves. Its views are copied, and only
    those of other versions are written again.
    """
    remove_database(file)  # left by a killed writer
    if old and lake.catalogue:
        shutil.copyfile(lake.catalogue, file)
    pinned: dict[str, int | None] = {**release.tables, **release.consumed}
    wanted = {**dict.fromkeys(list_tables(lake, "ops")), **pinned}
    with attach(connection, file, f"storage_version {quote.literal(STORAGE)}"):
        connection.execute("use made")
        for layer in LAYERS:
            connection.execute(f"create schema if not exists {layer}")
        for name in sorted(old.keys() - wanted.keys()):
            connection.execute(f"drop view if exists {name}")
        for name, version in sorted(wanted.items()):
            if version is None or old.get(name) != version:
                table = opened.get(name)
                if table is None or version is None or table.version != version:
                    table = open_table(lake, name, version)
                refuse_difference(release, table)
                rows = portable_select(connection, table, lake.place)
                connection.execute(f"create or replace view {name} as {rows}")
        connection.execute(f"create or replace view {CURRENT} as {release_row(release)}")


def portable_select(connection: Connection, table: Table, place: str) -> str:
    """Return the SELECT over a table version; it reads the files below ``keylake_root`` if that is set."""
    types = duckdb_types(connection, table.schema)
    files = [file.uri.removeprefix(place) for file in table.files()]
    if not files:
        return empty_select(types)
    listed = f"list_transform([{quote.literals(files)}], lambda file: {root(place)} || file)"
    return f"select {', '.join(map(quote.name, types))} from {parquet_scan(listed, table, types)}"


def root(place: str) -> str:
    """Return the SQL expression of the lake's root: ``keylake_root`` if it is set, else ``place``. Pure."""
    return f"COALESCE(getvariable({quote.literal(ROOT)}), {quote.literal(place)})"


@contextlib.contextmanager
def attach(connection: Connection, file: Path, how: str) -> Iterator[None]:
    """Attach a database file as ``made``; afterwards the file is complete and has no write-ahead log."""
    connection.execute(f"attach {quote.literal(file)} as made ({how})")
    try:
        yield
    finally:
        connection.execute("use memory")
        connection.execute("detach made")


def remove_database(file: Path) -> None:
    """Delete a database file and its write-ahead log."""
    for path in (file, file.with_name(f"{file.name}.wal")):
        path.unlink(missing_ok=True)
