"""Catalogue: ``lake.duckdb``, a small file of views for analysts who bring their own DuckDB.

It has the schemas of a session over the current release, and works in DuckDB 1.5 and 2,
opened read-only (``duckdb -readonly data/lake/lake.duckdb``). Whoever has it open
keeps what he opened; the next one to open it finds the newest release.

The views name files by the lake's absolute path. Where the lake was moved, or is mounted
elsewhere, ``set variable keylake_root = '/new/place'`` makes them work; the next publish
writes the new place.

In an object store there is no catalogue: a DuckDB without extensions opens neither a
database nor a Parquet file there. ``just sql`` reads the lake wherever it is.
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

from lake.delta.table import Table, list_tables, open_table
from lake.errors import LakeError
from lake.lock import locked
from lake.paths import LAYERS, Lake
from lake.query import quote
from lake.query.session import CURRENT, Connection, connect, duckdb_types, no_rows, one_release, parquet
from lake.releases.release import Release, current_release, find_release
from lake.releases.release import publish as publish_release
from lake.settings import LakeSettings

log = structlog.get_logger()

# DuckDB 2's own default does not open in 1.x.
STORAGE = "v1.2.0"
ROOT = "keylake_root"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FAILURES = (OSError, duckdb.Error, LakeError)


def publish(lake: Lake, release: Release, *, opened: Mapping[str, Table] = MappingProxyType({})) -> Release:
    """Make the release current, then show it in the catalogue; return it. Raises as its ``publish``.

    Tables that are ``opened`` at its versions already need not be opened for that.
    The release is published whatever becomes of the catalogue: if that can't be written the
    old one stays, which is true of its own release, and the next publish or refresh mends it.
    """
    release = publish_release(lake, release)
    try:
        write_catalogue(lake, release, opened=opened)
    except FAILURES as error:
        log.warning("lake.catalogue_not_written", release=release.release, reason=str(error))
    return release


def refresh_catalogue(lake: Lake) -> bool:
    """Write the catalogue where it does not show the newest release; True if it was written.

    A process that dies between publishing and writing leaves it one release behind.
    """
    newest = current_release(lake)
    if newest is None or lake.catalogue is None or shown_release(lake) == newest.release:
        return False
    write_catalogue(lake, newest)
    return True


def show_ledgers(lake: Lake) -> None:
    """Let the catalogue name the files that the ledgers have now: vacuum deletes others in a while."""
    release = current_release(lake)
    try:
        if release:
            write_catalogue(lake, release)
    except FAILURES as error:
        log.warning("lake.ledgers_not_shown", reason=str(error))


def write_catalogue(
    lake: Lake, release: Release, *, opened: Mapping[str, Table] = MappingProxyType({})
) -> None:
    """Put a catalogue of the release in place of the old one, whole or not at all; local lakes only.

    Of two writers at once the later one shows the newest release, whichever it came with.
    """
    if lake.catalogue is None:
        return
    with locked(lake.place):
        newest = current_release(lake) or release
        newer = max(release, newest, key=lambda one: one.release)
        made = lake.catalogue.with_name(f"{lake.catalogue.name}.new")
        with connect(LakeSettings()) as connection:
            old = shown_versions(connection, lake, newer.code_version)
            try:
                fill(connection, lake, newer, made, old=old, opened=opened)
            except duckdb.Error:  # the old one is damaged where nobody looked
                fill(connection, lake, newer, made, old={}, opened=opened)
        os.replace(made, lake.catalogue)


def shown_release(lake: Lake) -> int | None:
    """Return the number of the release that the catalogue shows; None where it shows none of this lake."""
    with connect(LakeSettings()) as connection:
        found = shown(connection, lake)
    return found[0].release if found else None


def shown(connection: Connection, lake: Lake) -> tuple[Release, bool] | None:
    """Return the release that the catalogue shows, and whether its views name files of this place.

    A number alone is no release: the lake may have been made anew, or put back, beside the file.
    """
    if lake.catalogue is None or not lake.catalogue.exists():
        return None
    here = f"select count(*) from duckdb_views() where contains(sql, {quote.literal(root(lake.place))})"
    current = f"select release, epoch_us(published_at) from made.{CURRENT}"
    try:
        with attached(connection, lake.catalogue, "read_only"):
            ((number, published_at),) = connection.execute(current).fetchall()
            ((views,),) = connection.execute(here).fetchall()
        release = find_release(lake, int(number))
    except (duckdb.Error, LakeError):
        return None
    is_it = release.published_at == EPOCH + timedelta(microseconds=published_at)
    return (release, views > 0) if is_it else None


def shown_versions(connection: Connection, lake: Lake, code_version: str) -> dict[str, int]:
    """Return the versions that the catalogue shows; none where it is of another place, or of other code."""
    found = shown(connection, lake)
    if found is None or not found[1] or found[0].code_version != code_version:
        return {}
    return {**found[0].tables, **found[0].consumed}


def fill(
    connection: Connection,
    lake: Lake,
    release: Release,
    file: Path,
    *,
    old: Mapping[str, int],
    opened: Mapping[str, Table],
) -> None:
    """Write a database with one view per table of the release, and per ledger at its head.

    Where the catalogue shows ``old`` versions, those views of it that the release shows too stay.
    """
    remove(file)  # a writer that was killed left it
    if old and lake.catalogue:
        shutil.copyfile(lake.catalogue, file)
    pinned: dict[str, int | None] = {**release.tables, **release.consumed}
    wanted = {**dict.fromkeys(list_tables(lake, "ops")), **pinned}
    with attached(connection, file, f"storage_version {quote.literal(STORAGE)}"):
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
                rows = portable(connection, table, lake.place)
                connection.execute(f"create or replace view {name} as {rows}")
        connection.execute(f"create or replace view {CURRENT} as {one_release(release)}")


def portable(connection: Connection, table: Table, place: str) -> str:
    """Return the SELECT over a table version whose files are found below ``keylake_root``, if that is set."""
    types = duckdb_types(connection, table.schema)
    files = [file.uri.removeprefix(place) for file in table.files()]
    if not files:
        return no_rows(types)
    listed = f"list_transform([{quote.literals(files)}], lambda file: {root(place)} || file)"
    return f"select {', '.join(map(quote.name, types))} from {parquet(listed, table, types)}"


def root(place: str) -> str:
    """Return the expression of the lake's root: the analyst's, or where the lake was. Pure."""
    return f"COALESCE(getvariable({quote.literal(ROOT)}), {quote.literal(place)})"


@contextlib.contextmanager
def attached(connection: Connection, file: Path, how: str) -> Iterator[None]:
    """Have a database file attached as ``made``; afterwards all is in the file, and no log beside it."""
    connection.execute(f"attach {quote.literal(file)} as made ({how})")
    try:
        yield
    finally:
        connection.execute("use memory")
        connection.execute("detach made")


def remove(file: Path) -> None:
    """Delete a database file and its log."""
    for found in (file, file.with_name(f"{file.name}.wal")):
        found.unlink(missing_ok=True)
