"""Workspace: the DuckDB of one build, with every table as it would be after it.

A table of the last release that nothing touched is a view of its files. Of one that is
built in part, the view shows the release's rows without those built anew, and these. So
a model's SQL, and a check's, runs as it stands: over all of its inputs, or in the
database ``part`` over those rows of them that matter.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import date
from typing import Any, TypeVar

import duckdb
import msgspec
import pyarrow as pa

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
# Rows of the release that were built anew, what came in their place, and how they differ.
KEYS, BUILT, GONE, COME, DIFF = "keys", "built", "gone", "come", "diff"


class Source(msgspec.Struct):
    """A table of the lake in the workspace.

    ``table`` is the version it stands on, None for one that is built whole; of a version
    built in part, rows whose ``key`` is in ``keys``, or whose month is in ``months``, are
    replaced by ``built``. ``where`` leaves out what excluded runs have brought. ``is_seen``
    where a view shows all of it.
    """

    columns: tuple[str, ...]
    table: Table | None = None
    where: str = "true"
    key: str | None = None
    months: frozenset[date] | None = None
    is_dated: bool = False
    files: tuple[DataFile, ...] = ()
    is_seen: bool = False


class Workspace:
    """DuckDB with the schemas of the lake, in full and in part, while one build lasts."""

    def __init__(self, connection: Connection) -> None:
        self.duckdb = connection
        self.sources: dict[str, Source] = {}
        self._shown_in_part: dict[str, str] = {}
        connection.execute(f"attach ':memory:' as {PART}")
        # To Arrow decimals go in as few bytes as they need: half of all bytes otherwise.
        connection.execute("set arrow_output_version = '1.5'")
        for layer in LAYERS:
            connection.execute(f"create schema {FULL}.{layer}; create schema {PART}.{layer}")
        for schema in (KEYS, BUILT, GONE, COME, DIFF):
            connection.execute(f"create schema {FULL}.{schema}")

    def show(self, name: str, table: Table, *, is_dated: bool = False, where: str = "true") -> None:
        """Show a table as a version of it has it."""
        source = Source(
            tuple(table.schema.names), table, where, is_dated=is_dated, files=tuple(table.files())
        )
        self.sources[name] = source

    def whole(self, name: str) -> str:
        """Return where a table is seen with all its rows, as far as is known what of it was built anew.

        DuckDB looks for every file of a view when it is made: it is made for those who need it.
        """
        source = self.sources.get(name)
        if source and source.table and not source.is_seen:
            self.duckdb.execute(f"create or replace view {FULL}.{name} as {self.rows(name)}")
            source.is_seen = True
        return f"{FULL}.{name}"

    def show_whole(self, names: Iterable[str]) -> None:
        """Show tables with all their rows, those of them that are in the lake."""
        for name in names:
            self.whole(name)

    def put(self, name: str, columns: Iterable[str], *, is_dated: bool = False) -> None:
        """Know of a table that was made in the workspace, whole."""
        self.sources[name] = Source(tuple(columns), is_dated=is_dated)

    def put_keys(self, name: str, keys: Collection[int]) -> None:
        """Make the relation of some keys."""
        self.duckdb.register("wanted", pa.table({"key": pa.array(sorted(keys), pa.int64())}))
        self.duckdb.execute(f"create or replace table {in_(KEYS, name)} as select key from wanted")
        self.duckdb.unregister("wanted")

    def rows(self, name: str, files: Sequence[DataFile] | None = None) -> str:
        """Return the SELECT of a table's rows, or of those in some of its files and all built anew."""
        source = self.sources[name]
        if source.table is None:
            return f"select * from {FULL}.{name}"
        kept = source.files if files is None else files
        if source.months is not None:
            kept = [file for file in kept if file.part not in source.months]
        held = scan(self.duckdb, source.table, [file.uri for file in kept])
        where = [source.where]
        if source.key:
            where.append(f"{source.key} not in (select key from {in_(KEYS, name)})")
        held = f"select * from ({held}) where {' and '.join(where)}"
        if source.key is None and source.months is None:
            return held
        return f"{held} union all by name select * from {in_(BUILT, name)}"

    def of_months(self, name: str, months: Collection[date]) -> str:
        """Return the SELECT of a dated table's rows of some months; of an undated one all rows."""
        if self.sources[name].is_dated:
            return self.in_parts(name, "month", months)
        return f"from {self.whole(name)}"

    def in_parts(self, name: str, part: str, values: Collection[date]) -> str:
        """Return the SELECT of what a table has in some of its partitions, which are by ``part``."""
        files = [file for file in self.sources[name].files if file.part in values]
        among = f"{part} in ({literals(sorted(values))})" if values else "false"
        return f"select * from ({self.rows(name, files)}) where {among}"

    def of_keys(self, name: str, column: str | None, keys: str) -> str:
        """Return the SELECT of the rows whose ``column`` is in the relation ``keys``; without one, of all."""
        source = self.sources[name]
        if column is None:
            return f"from {self.whole(name)}"
        files = holding(source.table, source.files, column, self._ids(keys)) if source.table else ()
        return f"select * from ({self.rows(name, files)}) where {column} in (select key from {keys})"

    def held(self, table: Table, where: str = "true", files: Sequence[DataFile] | None = None) -> str:
        """Return the SELECT of a version's own rows, or of those in some of its files."""
        uris = None if files is None else [file.uri for file in files]
        return f"select * from ({scan(self.duckdb, table, uris)}) where {where}"

    def held_of_keys(self, table: Table, column: str, keys: str) -> str:
        """Return the SELECT of the rows of a version whose ``column`` is in the relation ``keys``."""
        files = holding(table, table.files(), column, self._ids(keys))
        return self.held(table, f"{column} in (select key from {keys})", files)

    def in_part(self, views: Iterable[tuple[str, str]], work: Callable[[], Result]) -> Result:
        """Do some work where tables show only the rows that these SELECTs yield."""
        for name, rows in views:
            if self._shown_in_part.get(name) != rows:  # DuckDB looks for its files anew
                self.duckdb.execute(f"create or replace view {PART}.{name} as {rows}")
                self._shown_in_part[name] = rows
        self.duckdb.execute(f"use {PART}")
        try:
            return work()
        finally:
            self.duckdb.execute(f"use {FULL}")

    def one(self, query: str) -> Any:
        """Return the first row of a query."""
        (row,) = self.duckdb.execute(query).fetchall()
        return row

    def column(self, query: str) -> list[Any]:
        """Return the first column of a query."""
        return [value for (value, *_) in self.duckdb.execute(query).fetchall()]

    def _ids(self, keys: str) -> list[int]:
        return self.column(f"select distinct key from {keys} order by key")


def holding(table: Table, files: Iterable[DataFile], column: str, ids: Sequence[int]) -> list[DataFile]:
    """Return the files of a version that may hold one of the sorted ids, by their own statistics."""
    spans = table.spans(column)
    return [file for file in files if is_in(ids, spans.get(file.uri))]


def is_in(ids: Sequence[int], span: tuple[int, int] | None) -> bool:
    """True where one of the sorted ids lies in the span; also where no span is known. Pure."""
    if span is None:
        return True
    at = bisect_left(ids, span[0])
    return at < len(ids) and ids[at] <= span[1]


def in_(schema: str, name: str) -> str:
    """Return the place of what the workspace keeps of a table. Pure."""
    return f"{FULL}.{schema}.{quoted(name)}"


def build_model(connection: Connection, model: Model, target: str | None = None) -> None:
    """Run a model's SQL, over what is shown just now, into a table. Raises ModelError."""
    place = target or model.name
    part, parted_by = model.header.part, model.header.parted_by
    parted = f", date_trunc('{part}', {parted_by})::date as {part}" if part else ""
    try:
        connection.execute(f"create or replace table {place} as select *{parted} from (\n{model.sql}\n)")
    except (duckdb.OutOfMemoryException, duckdb.IOException):
        raise  # no fault of the model's
    except duckdb.Error as error:
        raise ModelError(f"{model.name}: it can't be built: {' '.join(str(error).split())}") from None
    check_types(connection, model, place)
