"""Session: a DuckDB connection with limits, a time zone, and views over one release.

A view reads the Parquet files of one table version with ``read_parquet``. This is the fastest
way to read them, and no later commit can change the result. Files in an object store are read
in the same way, through ``lake.query.object_store``.
"""

from collections.abc import Iterable, Mapping, Sequence

import duckdb
import pyarrow as pa

from lake.delta.damage import refuse_damage
from lake.delta.table import Table
from lake.delta.tables import KEPT, list_tables, open_table
from lake.errors import TableMissing
from lake.paths import Lake
from lake.query import quote
from lake.query.guard import lock
from lake.query.spill import spill_folder
from lake.releases.release import Release
from lake.releases.released_table import open_released
from lake.releases.restores import refuse_left_out, refuse_unfinished
from lake.settings import LakeSettings

Connection = duckdb.DuckDBPyConnection
CURRENT = "ops.current_release"
# Names of DuckDB types by Arrow type; filled on first use.
TYPES: dict[pa.DataType, str] = {}


def connect(settings: LakeSettings) -> Connection:
    """Open an empty in-memory DuckDB with the limits of the settings and UTC instants. Raises ConfigError."""
    connection = duckdb.connect(
        config={
            "memory_limit": settings.memory_limit,
            "temp_directory": spill_folder(settings),
            "preserve_insertion_order": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            **({"threads": str(settings.threads)} if settings.threads else {}),
        }
    )
    # Many queries read the same file, and it never changes: read its footer once.
    connection.execute("set global timezone = 'UTC'; set parquet_metadata_cache = true")
    return connection


def open_session(lake: Lake, settings: LakeSettings, release: Release | None) -> Connection:
    """Open DuckDB with bronze, rules, silver and gold at the release's versions, and ops at its head.

    ``ops.current_release`` has one row with the open release. If ``release`` is None, the session
    has only bronze and ops, at their heads. The settings are locked, see ``lake.query.guard``. Raises
    NoRelease if the backup that the lake was restored from did not include the release, LakeError if
    a restore is unfinished, TableMissing, and TableDamaged if a log or a file is damaged; files of bronze
    are not checked, because they are most of a lake.
    """
    refuse_unfinished(lake)
    if release:
        refuse_left_out(lake, release)
    connection = connect(settings)
    for schema in ("bronze", "rules", "silver", "gold", "ops"):
        connection.execute(f"create schema {schema}")
    ledgers = {name: open_table(lake, name) for name in list_tables(lake, "ops")}
    for name, table in sorted({**pinned_tables(lake, release), **ledgers}.items()):
        if not name.startswith("bronze."):
            refuse_damage(name, table.uris())
        create_view(connection, name, table)
    if release:
        connection.execute(f"create view {CURRENT} as {release_row(release)}")
    lock(connection)
    return connection


def pinned_tables(lake: Lake, release: Release | None) -> dict[str, Table]:
    """Open the tables of a release; the heads of bronze if there is none."""
    if release is None:
        return open_heads(lake)
    return {name: open_released(lake, release, name) for name in {**release.tables, **release.consumed}}


def release_row(release: Release) -> str:
    """Return the SELECT of one row: number, time and kind of the open release."""
    published_at = f"timestamptz {quote.literal(release.published_at.isoformat())}"
    kind = quote.literal(release.kind)
    return f"select {release.release}::bigint as release, {published_at} as published_at, {kind} as kind"


def fetch(connection: Connection, query: str) -> pa.Table:
    """Return a query's rows as Arrow; an empty table if the statement returns no rows."""
    relation = connection.sql(query)
    return relation.to_arrow_table() if relation is not None else pa.table({})


def heads(lake: Lake) -> dict[str, int]:
    """Return a consistent set of the newest versions of all bronze tables."""
    return {name: table.version for name, table in open_heads(lake).items()}


def open_heads(lake: Lake) -> dict[str, Table]:
    """Open all bronze tables at a consistent set of their newest versions.

    An order's lines are committed before the order, so versions read one after another may
    contain an order without its lines. If two passes read the same versions, no commit came between.
    """
    tables: dict[str, Table] = {}
    versions: dict[str, int] = {}
    while True:
        for name in lake.tables("bronze"):
            if name in tables:
                tables[name].refresh()
            else:
                tables[name] = open_table(lake, name)
        if versions == (versions := {name: table.version for name, table in tables.items()}):
            return tables


def create_view(connection: Connection, view: str, table: Table, files: Sequence[str] | None = None) -> None:
    """Create ``view`` over the open version of ``table``, or over ``files`` of it.

    Raises TableMissing if a file was deleted, because no retained release needs that version, and
    TableDamaged if a file can't be opened because it is damaged.
    """
    select = scan(connection, table, files)
    try:
        connection.execute(f"create or replace view {view} as {select}")
    except (duckdb.Error, FileNotFoundError) as error:
        if not is_missing(error):
            refuse_damage(table.name, table.uris())
            raise
        raise TableMissing(f"{table.name}: files of version {table.version} are missing; {KEPT}") from None


def is_missing(error: Exception) -> bool:
    """Return True if DuckDB failed because a file is missing. Pure.

    DuckDB reports an error of the object store's file system only as the text of its traceback.
    """
    is_plain = isinstance(error, duckdb.IOException | FileNotFoundError)
    return is_plain or "\nFileNotFoundError: " in str(error)


def scan(connection: Connection, table: Table, files: Sequence[str] | None = None) -> str:
    """Return the SELECT over a table version, or over ``files`` of it, and let DuckDB read their store.

    If there are no files, the SELECT has the table's columns and no rows.
    """
    files = [file.uri for file in table.files()] if files is None else files
    types = duckdb_types(connection, table.schema)
    if not files:
        return empty_select(types)
    mount(connection, files[0])
    return f"select {', '.join(map(quote.name, types))} from {read_parquet(files, table, types)}"


def empty_select(types: Mapping[str, str]) -> str:
    """Return a SELECT with these columns and no rows."""
    nulls = ", ".join(f"null::{kind} as {quote.name(column)}" for column, kind in types.items())
    return f"select {nulls} where false"


def mount(connection: Connection, uri: str) -> None:
    """Let DuckDB read the object store of a file; does nothing for a local file."""
    scheme, _, path = uri.partition("://")
    if not path or connection.filesystem_is_registered(scheme):
        return
    # Importing fsspec takes longer than a query of a local lake.
    from lake.query.object_store import Mount

    connection.register_filesystem(Mount(scheme))


def read_parquet(files: Iterable[str], table: Table, types: Mapping[str, str]) -> str:
    """Return DuckDB's ``read_parquet`` of the files, with the table's partition columns."""
    return parquet_scan(f"[{quote.literals(files)}]", table, types)


def parquet_scan(listed: str, table: Table, types: Mapping[str, str]) -> str:
    """Return ``read_parquet`` over the SQL expression of a list of files."""
    hive = ", ".join(f"{quote.literal(column)}: {types[column]}" for column in table.partition_by)
    partitions = f"hive_partitioning = true, hive_types = {{{hive}}}" if hive else "hive_partitioning = false"
    # All files of a version have the same schema, because `redefine` writes all of them again. So DuckDB
    # takes the columns from the first file (no union_by_name).
    return f"read_parquet({listed}, {partitions})"


def duckdb_types(connection: Connection, schema: pa.Schema) -> dict[str, str]:
    """Return ``{column: name of its DuckDB type}``."""
    if new := [kind for kind in dict.fromkeys(schema.types) if kind not in TYPES]:
        relation = connection.from_arrow(pa.schema(list(zip(map(str, new), new, strict=True))).empty_table())
        TYPES.update(zip(new, map(str, relation.types), strict=True))
    return {field.name: TYPES[field.type] for field in schema}
