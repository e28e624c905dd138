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
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import duckdb
import structlog

from lake import quote
from lake.errors import LakeError
from lake.paths import LAYERS, Lake
from lake.release import Release, current_release
from lake.release import publish as publish_release
from lake.session import CURRENT, Connection, connect, duckdb_types, ledgers, no_rows, one_release, parquet
from lake.settings import LakeSettings
from lake.table import Table, open_table

log = structlog.get_logger()

# DuckDB 2's own default does not open in 1.x.
STORAGE = "v1.2.0"
ROOT = "keylake_root"
FAILURES = (OSError, duckdb.Error, LakeError)


def publish(lake: Lake, release: Release) -> None:
    """Make the release current, then show it in the catalogue. Raises what ``lake.release.publish`` does.

    The release is published whatever becomes of the catalogue: if that can't be written the
    old one stays, which is true of its own release, and the next publish or refresh mends it.
    """
    publish_release(lake, release)
    try:
        write_catalogue(lake, release)
    except FAILURES as error:
        log.warning("lake.catalogue_not_written", release=release.release, reason=str(error))


def refresh_catalogue(lake: Lake) -> bool:
    """Write the catalogue where it does not show the newest release; True if it was written.

    A process that dies between publishing and writing leaves it one release behind.
    """
    newest = current_release(lake)
    if newest is None or lake.catalogue is None or shown_release(lake) == newest.release:
        return False
    write_catalogue(lake, newest)
    return True


def write_catalogue(lake: Lake, release: Release) -> None:
    """Put a catalogue of the release in place of the old one, whole or not at all; local lakes only.

    Of two writers at once the later one shows the newest release, whichever it came with.
    """
    if lake.catalogue is None:
        return
    with alone(lake):
        newest = current_release(lake) or release
        made = lake.catalogue.with_name(f"{lake.catalogue.name}.new")
        remove(made)  # a writer that was killed left it
        fill(lake, max(release, newest, key=lambda one: one.release), made)
        os.replace(made, lake.catalogue)


def shown_release(lake: Lake) -> int | None:
    """Return the number of the release that the catalogue shows; None where there is no catalogue."""
    if lake.catalogue is None or not lake.catalogue.exists():
        return None
    try:
        with connect(LakeSettings()) as connection:
            attach(connection, lake.catalogue, "read_only")
            ((number,),) = connection.execute(f"select release from made.{CURRENT}").fetchall()
    except duckdb.Error:
        return None
    return int(number)


def fill(lake: Lake, release: Release, file: Path) -> None:
    """Write a database with one view per table of the release, and per ledger at its head."""
    with connect(LakeSettings()) as connection:
        attach(connection, file, f"storage_version {quote.literal(STORAGE)}")
        connection.execute("use made")
        for layer in LAYERS:
            connection.execute(f"create schema {layer}")
        pinned: dict[str, int | None] = {**release.tables, **release.consumed}
        for name, version in sorted({**dict.fromkeys(ledgers(lake)), **pinned}.items()):
            rows = portable(connection, open_table(lake, name, version), lake.place)
            connection.execute(f"create view {name} as {rows}")
        connection.execute(f"create view {CURRENT} as {one_release(release)}")
        # What is in memory goes to the file here, so that no log lies beside it.
        connection.execute("use memory")
        connection.execute("detach made")


def portable(connection: Connection, table: Table, place: str) -> str:
    """Return the SELECT over a table version whose files are found below ``keylake_root``, if that is set."""
    types = duckdb_types(connection, table.schema)
    files = [file.uri.removeprefix(place) for file in table.files()]
    if not files:
        return no_rows(types)
    root = f"coalesce(getvariable({quote.literal(ROOT)}), {quote.literal(place)})"
    listed = f"list_transform([{quote.literals(files)}], lambda file: {root} || file)"
    return f"select {', '.join(map(quote.name, types))} from {parquet(listed, table, types)}"


def attach(connection: Connection, file: Path, how: str) -> None:
    """Attach a database file as ``made``."""
    connection.execute(f"attach {quote.literal(file)} as made ({how})")


def remove(file: Path) -> None:
    """Delete a database file and its log."""
    for found in (file, file.with_name(f"{file.name}.wal")):
        found.unlink(missing_ok=True)


@contextlib.contextmanager
def alone(lake: Lake) -> Iterator[None]:
    """Hold the lake's folder against other writers of its catalogue; a process that dies lets go of it."""
    folder = os.open(lake.place, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
