"""DuckDB connections: limits, time zone, and views over one release.

A view reads the Parquet files of one table version with ``read_parquet``: the
fastest read, and one that no later commit can change. Files in an object store are
read the same way, through a mount.
"""

import errno
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from lake.delta.table import KEPT, Table, list_tables, open_table
from lake.errors import ConfigError, TableMissing
from lake.paths import Lake
from lake.query import quote
from lake.releases.release import Release
from lake.releases.restores import refuse_left_out, refuse_unfinished
from lake.settings import LakeSettings

Connection = duckdb.DuckDBPyConnection
CURRENT = "ops.current_release"
# Arrow's types in DuckDB's words, as far as anybody asked.
TYPES: dict[pa.DataType, str] = {}


def connect(settings: LakeSettings) -> Connection:
    """Open an empty in-memory DuckDB within the limits set; instants read as UTC. Raises ConfigError."""
    refuse_spill(settings)
    connection = duckdb.connect(
        config={
            "memory_limit": settings.memory_limit,
            "temp_directory": settings.spill or tempfile.gettempdir() + "/keylake-spill",
            "preserve_insertion_order": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            **({"threads": str(settings.threads)} if settings.threads else {}),
        }
    )
    # A file is opened for many queries and never changes: its footer is read once.
    connection.execute("set global timezone = 'UTC'; set parquet_metadata_cache = true")
    return connection


def refuse_spill(settings: LakeSettings) -> None:
    """Raise ConfigError where DuckDB could not write to the folder set, or make it when it spills."""
    if not settings.spill:
        return
    folder = Path(settings.spill)
    try:
        with tempfile.TemporaryDirectory(dir=folder if folder.exists() else folder.parent):
            pass
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return  # a full disk is no mistake in the settings, and much can be read without
        raise ConfigError(
            f"[lake] spill: {folder} can't be written: {error.strerror}; name a folder on a disk with room"
        ) from None


def open_session(lake: Lake, settings: LakeSettings, release: Release | None) -> Connection:
    """Open DuckDB with schemas bronze, rules, silver, gold pinned to the release, and ops at its head.

    Without a release there is only what an ingest has brought; with one,
    ``ops.current_release`` says in one row which. Raises NoRelease for one that a restored
    lake was not given, LakeError where a restore is not finished, TableMissing.
    """
    if release:
        refuse_left_out(lake, release)
    else:
        refuse_unfinished(lake)
    connection = connect(settings)
    for schema in ("bronze", "rules", "silver", "gold", "ops"):
        connection.execute(f"create schema {schema}")
    pinned = {**release.tables, **release.consumed} if release else heads(lake)
    for name, version in sorted(pinned.items()):
        create_view(connection, name, open_table(lake, name, version))
    for name in list_tables(lake, "ops"):
        create_view(connection, name, open_table(lake, name))
    if release:
        connection.execute(f"create view {CURRENT} as {one_release(release)}")
    return connection


def one_release(release: Release) -> str:
    """Return the SELECT of the one row that says which release is open."""
    published_at = f"timestamptz {quote.literal(release.published_at.isoformat())}"
    kind = quote.literal(release.kind)
    return f"select {release.release}::bigint as release, {published_at} as published_at, {kind} as kind"


def fetch(connection: Connection, query: str) -> pa.Table:
    """Return a query's rows as Arrow; empty for a statement that has none."""
    relation = connection.sql(query)
    return relation.to_arrow_table() if relation is not None else pa.table({})


def heads(lake: Lake) -> dict[str, int]:
    """Return the versions that all bronze tables had at one moment: the newest such moment."""
    return {name: table.version for name, table in open_heads(lake).items()}


def open_heads(lake: Lake) -> dict[str, Table]:
    """Open all bronze tables as they were at one moment: the newest such moment.

    An order's lines are committed before the order: versions read one after another
    could be of an order without them. Two looks that agree were at rest between them.
    """
    found: dict[str, Table] = {}
    seen: dict[str, int] = {}
    while True:
        for name in lake.tables("bronze"):
            if name in found:
                found[name].refresh()
            else:
                found[name] = open_table(lake, name)
        if seen == (seen := {name: table.version for name, table in found.items()}):
            return found


def create_view(connection: Connection, view: str, table: Table, files: Sequence[str] | None = None) -> None:
    """Make ``view`` show the rows of the version that ``table`` holds, or of some of its files.

    Raises TableMissing where a file is gone: nothing keeps that version.
    """
    select = scan(connection, table, files)
    try:
        connection.execute(f"create or replace view {view} as {select}")
    except (duckdb.Error, FileNotFoundError) as error:
        if not is_missing(error):
            raise
        raise TableMissing(f"{table.name}: files of version {table.version} are not here; {KEPT}") from None


def is_missing(error: Exception) -> bool:
    """True where DuckDB failed for a file that is not there. Pure.

    Of what a mount raises it keeps the traceback alone, as text.
    """
    is_plain = isinstance(error, duckdb.IOException | FileNotFoundError)
    return is_plain or "\nFileNotFoundError: " in str(error)


def scan(connection: Connection, table: Table, files: Sequence[str] | None = None) -> str:
    """Return the SELECT over a table version, or over some of its files; DuckDB can read them from then on.

    Without files it has the columns and no rows.
    """
    files = [file.uri for file in table.files()] if files is None else files
    types = duckdb_types(connection, table.schema)
    if not files:
        return no_rows(types)
    mount(connection, files[0])
    return f"select {', '.join(map(quote.name, types))} from {read_parquet(files, table, types)}"


def no_rows(types: Mapping[str, str]) -> str:
    """Return the SELECT of no rows with these columns."""
    nothing = ", ".join(f"null::{kind} as {quote.name(column)}" for column, kind in types.items())
    return f"select {nothing} where false"


def mount(connection: Connection, uri: str) -> None:
    """Let DuckDB read the object store that a file is in; a file of this machine needs nothing."""
    scheme, _, path = uri.partition("://")
    if not path or connection.filesystem_is_registered(scheme):
        return
    # fsspec takes longer to import than a query on this disk takes to run.
    from lake.query.object_store import Mount

    connection.register_filesystem(Mount(scheme))


def read_parquet(files: Iterable[str], table: Table, types: Mapping[str, str]) -> str:
    """Return DuckDB's ``read_parquet`` of the files, with the table's partition columns."""
    return parquet(f"[{quote.literals(files)}]", table, types)


def parquet(listed: str, table: Table, types: Mapping[str, str]) -> str:
    """Return ``read_parquet`` of files that SQL lists."""
    hive = ", ".join(f"{quote.literal(column)}: {types[column]}" for column in table.partition_by)
    partitions = f"hive_partitioning = true, hive_types = {{{hive}}}" if hive else "hive_partitioning = false"
    # All files of a version have its schema: `redefine` writes them all. So one of them tells, not each.
    return f"read_parquet({listed}, {partitions})"


def duckdb_types(connection: Connection, schema: pa.Schema) -> dict[str, str]:
    """Return ``{column: type}`` in DuckDB's words."""
    if new := [kind for kind in dict.fromkeys(schema.types) if kind not in TYPES]:
        relation = connection.from_arrow(pa.schema(list(zip(map(str, new), new, strict=True))).empty_table())
        TYPES.update(zip(new, map(str, relation.types), strict=True))
    return {field.name: TYPES[field.type] for field in schema}
