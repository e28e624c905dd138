"""Workspace: the DuckDB of one build, with every table as it would be after the build.

A table that the build does not touch is a view of the release's files. If a table is rebuilt
in part, its view has the release's rows without the replaced rows, and the rebuilt rows. So
the SQL of a model or a check runs unchanged: over all rows of its inputs, or in the database
``part`` over the rows that matter.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import date
from typing import Any, TypeVar

import duckdb
import msgspec
import pyarrow as pa

from lake.delta.damage import refuse_damage
from lake.delta.log import DataFile
from lake.delta.table import Table
from lake.errors import ModelError
from lake.paths import LAYERS
from lake.query.quote import literals
from lake.query.quote import name as quoted
from lake.query.session import Connection, scan
from transform.checks import check_types
from transform.models import Model

Result = TypeVar("Result")
FULL = "memory"
PART = "part"
# Schemas of the build's own tables, each named as the table of the lake it is about: the ids to rebuild,
# the rebuilt rows, the rows that only the release has, the rows that only the candidate has, and both.
KEYS, BUILT, REMOVED, ADDED, DIFF = "keys", "built", "removed", "added", "diff"


class Source(msgspec.Struct):
    """A table of the lake in the workspace.

    ``table`` is the version that it reads, or None if it was built in full. If the version is
    rebuilt in part, its rows whose ``key`` is in the table's keys, or whose month is in
    ``months``, are replaced by the rebuilt rows. ``where`` drops the rows of excluded runs.
    ``has_view`` is True if a view shows all of its rows.
    """

    columns: tuple[str, ...]
    table: Table | None = None
    where: str = "true"
    key: str | None = None
    months: frozenset[date] | None = None
    is_dated: bool = False
    files: tuple[DataFile, ...] = ()
    has_view: bool = False


class Workspace:
    """The DuckDB of one build, with the schemas of the lake twice: in full and in part."""

    def __init__(self, connection: Connection) -> None:
        self.duckdb = connection
        self.sources: dict[str, Source] = {}
        self._part_views: dict[str, str] = {}
        self._checked: set[str] = set()
        connection.execute(f"attach ':memory:' as {PART}")
        # Decimals then go to Arrow in as few bytes as they need; otherwise they take half of all bytes.
        connection.execute("set arrow_output_version = '1.5'")
        for layer in LAYERS:
            connection.execute(f"create schema {FULL}.{layer}; create schema {PART}.{layer}")
        for schema in (KEYS, BUILT, REMOVED, ADDED, DIFF):
            connection.execute(f"create schema {FULL}.{schema}")

    def add_version(self, name: str, table: Table, *, is_dated: bool = False, where: str = "true") -> None:
        """Add a table version; ``where`` is a SQL condition on its rows."""
        self.sources[name] = Source(
            tuple(table.schema.names), table, where, is_dated=is_dated, files=tuple(table.files())
        )

    def add_built(self, name: str, columns: Iterable[str], *, is_dated: bool = False) -> None:
        """Add a table that was built in full in the workspace."""
        self.sources[name] = Source(tuple(columns), is_dated=is_dated)

    def scan(self, table: Table, files: Sequence[str] | None = None) -> str:
        """Return the SELECT over a table version, or over ``files`` of it. Raises TableDamaged.

        Each file is checked once, so that a build publishes nothing that a disk has changed.
        """
        uris = [file.uri for file in table.files()] if files is None else list(files)
        if new := set(uris) - self._checked:
            refuse_damage(table.name, sorted(new))
            self._checked |= new
        return scan(self.duckdb, table, uris)

    def full_name(self, name: str) -> str:
        """Return the qualified name of a table with all its rows, as far as they are rebuilt.

        The view is created only if it is needed, because DuckDB then opens each of its files.
        """
        source = self.sources.get(name)
        if source and source.table and not source.has_view:
            self.duckdb.execute(f"create or replace view {FULL}.{name} as {self.rows(name)}")
            source.has_view = True
        return f"{FULL}.{name}"

    def create_views(self, names: Iterable[str]) -> None:
        """Create the full views of those tables that are in the lake."""
        for name in names:
            self.full_name(name)

    def create_keys(self, name: str, keys: Collection[int]) -> None:
        """Create the relation of some ids, or replace it."""
        self.duckdb.register("wanted", pa.table({"key": pa.array(sorted(keys), pa.int64())}))
        self.duckdb.execute(f"create or replace table {scratch(KEYS, name)} as select key from wanted")
        self.duckdb.unregister("wanted")

    def rows(self, name: str, files: Sequence[DataFile] | None = None) -> str:
        """Return the SELECT of a table's rows. ``files`` limits the rows that are not rebuilt."""
        source = self.sources[name]
        if source.table is None:
            return f"select * from {FULL}.{name}"
        unchanged = source.files if files is None else files
        if source.months is not None:
            unchanged = [file for file in unchanged if file.part not in source.months]
        select = self.scan(source.table, [file.uri for file in unchanged])
        where = [source.where]
        if source.key:
            where.append(f"{source.key} not in (select key from {scratch(KEYS, name)})")
        select = f"select * from ({select}) where {' and '.join(where)}"
        if source.key is None and source.months is None:
            return select
        return f"{select} union all by name select * from {scratch(BUILT, name)}"

    def rows_of_months(self, name: str, months: Collection[date]) -> str:
        """Return the SELECT of a table's rows of some months, or of all its rows if it has no date."""
        if self.sources[name].is_dated:
            return self.rows_of_partitions(name, "month", months)
        return f"from {self.full_name(name)}"

    def rows_of_partitions(self, name: str, column: str, values: Collection[date]) -> str:
        """Return the SELECT of a table's rows in some partitions; ``column`` is the partition column."""
        files = [file for file in self.sources[name].files if file.part in values]
        where = f"{column} in ({literals(sorted(values))})" if values else "false"
        return f"select * from ({self.rows(name, files)}) where {where}"

    def rows_of_keys(self, name: str, column: str | None, keys: str) -> str:
        """Return the SELECT of the rows whose ``column`` is in the relation ``keys``.

        If there is no such column, the SELECT has all rows.
        """
        source = self.sources[name]
        if column is None:
            return f"from {self.full_name(name)}"
        files = files_with(source.table, source.files, column, self._ids(keys)) if source.table else ()
        return f"select * from ({self.rows(name, files)}) where {column} in (select key from {keys})"

    def version_rows(self, table: Table, where: str = "true", files: Sequence[DataFile] | None = None) -> str:
        """Return the SELECT of a table version's own rows, or of its rows in some files."""
        uris = None if files is None else [file.uri for file in files]
        return f"select * from ({self.scan(table, uris)}) where {where}"

    def version_rows_of_keys(self, table: Table, column: str, keys: str) -> str:
        """Return the SELECT of a version's rows whose ``column`` is in the relation ``keys``."""
        files = files_with(table, table.files(), column, self._ids(keys))
        return self.version_rows(table, f"{column} in (select key from {keys})", files)

    def run_on(self, views: Iterable[tuple[str, str]], work: Callable[[], Result]) -> Result:
        """Return the result of ``work``, which sees tables with only the rows of these SELECTs."""
        for name, rows in views:
            if self._part_views.get(name) != rows:  # DuckDB opens the files of a view that it creates
                self.duckdb.execute(f"create or replace view {PART}.{name} as {rows}")
                self._part_views[name] = rows
        self.duckdb.execute(f"use {PART}")
        try:
            return work()
        finally:
            self.duckdb.execute(f"use {FULL}")

    def first_row(self, query: str) -> Any:
        """Return the only row of a query."""
        (row,) = self.duckdb.execute(query).fetchall()
        return row

    def first_column(self, query: str) -> list[Any]:
        """Return the first column of a query."""
        return [value for (value, *_) in self.duckdb.execute(query).fetchall()]

    def _ids(self, keys: str) -> list[int]:
        return self.first_column(f"select distinct key from {keys} order by key")


def files_with(table: Table, files: Iterable[DataFile], column: str, ids: Sequence[int]) -> list[DataFile]:
    """Return the files of a version whose statistics allow one of the sorted ids."""
    spans = table.spans(column)
    return [file for file in files if may_contain(spans.get(file.uri), ids)]


def may_contain(span: tuple[int, int] | None, ids: Sequence[int]) -> bool:
    """Return True if one of the sorted ids is in the span, or if the span is unknown. Pure."""
    if span is None:
        return True
    first = bisect_left(ids, span[0])
    return first < len(ids) and ids[first] <= span[1]


def scratch(schema: str, name: str) -> str:
    """Return the qualified name of a build's own table about a table of the lake. Pure."""
    return f"{FULL}.{schema}.{quoted(name)}"


def build_model(connection: Connection, model: Model, target: str | None = None) -> None:
    """Run a model's SQL on the current views and store the result as a table. Raises ModelError."""
    table = target or model.name
    column, day = model.header.partition_column, model.header.partition_date
    partition = f", date_trunc('{column}', {day})::date as {column}" if column else ""
    try:
        connection.execute(f"create or replace table {table} as select *{partition} from (\n{model.sql}\n)")
    except (duckdb.OutOfMemoryException, duckdb.IOException):
        raise  # not a fault of the model
    except duckdb.Error as error:
        raise ModelError(f"{model.name}: it can't be built: {' '.join(str(error).split())}") from None
    check_types(connection, model, table)
