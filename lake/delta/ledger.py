"""Ledger: an append-only Delta table whose columns are the fields of a Struct.

The Struct is the only place that names the columns: the table's schema, its rows and the
records a caller gets are derived from it. ``T | None`` is a column that may be null, a
mapping is a MAP, a tuple or a set is a LIST, a nested Struct is a STRUCT. Instants are
UTC microseconds, money is DECIMAL(38,2).
"""

import types
from collections.abc import Collection, Iterator, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from lake.delta.table import Table
from lake.delta.tables import create_table, open_table, table_exists
from lake.paths import Lake

Record = TypeVar("Record", bound=msgspec.Struct)
# Ages that a search from the ledger's end reads back to, one after another, until it finds what it needs.
SPANS = (timedelta(hours=2), timedelta(days=7), timedelta(days=36500))
SCALARS: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    bool: pa.bool_(),
    float: pa.float64(),
    date: pa.date32(),
    datetime: pa.timestamp("us", "UTC"),
    Decimal: pa.decimal128(38, 2),
}


class Ledger(Generic[Record]):
    """The ledger ``name`` of ``kind``; ``order_by`` is the instant or number that orders its rows."""

    def __init__(self, name: str, kind: type[Record], *, order_by: str) -> None:
        self.name = name
        self.schema = schema_of(kind)
        self._kind = kind
        self._order_by = order_by

    def create(self, lake: Lake) -> Table:
        """Open the table at its head; create it, or columns that an older release lacks, if they are missing.

        Raises CommitConflict if another process commits while the columns are added.
        """
        table = create_table(lake, self.name, self.schema)
        if set(table.schema.names) < set(self.schema.names):
            table.redefine(self.rows(self.records(table.read())))
        return table

    def open(self, lake: Lake) -> Table | None:
        """Open the table at its head; None if nothing was ever written to it."""
        return open_table(lake, self.name) if table_exists(lake, self.name) else None

    def append(self, lake: Lake, records: Collection[Record]) -> None:
        """Append the records in one commit, after whatever other writers committed."""
        self.create(lake).append(self.rows(records))

    def read(self, lake: Lake, where: pc.Expression | None = None) -> list[Record]:
        """Return the records that match ``where``, in their order; none if there is no table."""
        table = self.open(lake)
        return self.records(table.read(where=where)) if table else []

    def newest_first(self, lake: Lake, *, until: datetime | None = None) -> Iterator[Record]:
        """Yield the records from the newest back, or from the newest at or before ``until``.

        Older records are read only if the caller asks for more. Needs an ``order_by`` of instants.
        """
        for rows in self.portions(lake, until=until):
            yield from reversed(self.records(rows))

    def portions(
        self,
        lake: Lake,
        columns: Sequence[str] | None = None,
        where: pc.Expression | None = None,
        *,
        until: datetime | None = None,
    ) -> Iterator[pa.Table]:
        """Yield the rows that match ``where`` in disjoint portions, the newest rows first.

        The last portion is all that is older. Needs an ``order_by`` of instants.
        """
        table = self.open(lake)
        end = until or (table and table.maximum(self._order_by))
        if not table or not isinstance(end, datetime):
            return
        instant = pc.field(self._order_by)
        # Statistics cut an instant to the millisecond, so the newest portion has no upper bound of its own.
        before = None if until is None else instant <= until
        for span in SPANS:
            portion = instant >= end - span
            for condition in (before, where):
                portion = portion if condition is None else portion & condition
            yield table.read(columns, portion)
            before = instant < end - span

    def rows(self, records: Collection[Record]) -> pa.Table:
        """Return records as Arrow rows of the table's schema. Pure."""
        return pa.Table.from_pylist([plain(record) for record in records], schema=self.schema)

    def records(self, rows: pa.Table) -> list[Record]:
        """Return Arrow rows as records, in their order. Pure."""
        values = [self.record(row) for row in rows.to_pylist()]
        return sorted(values, key=lambda record: getattr(record, self._order_by))

    def record(self, row: dict[str, Any]) -> Record:
        """Return one row, as Arrow gives it, as a record; a column that it lacks has the default. Pure."""
        fields = {
            field.name: nested(row[field.name], field.type) for field in self.schema if field.name in row
        }
        return msgspec.convert(fields, self._kind)


def schema_of(kind: type[msgspec.Struct]) -> pa.Schema:
    """Return the Arrow schema of a Struct's fields, in their order. Pure."""
    return pa.schema([arrow_field(field.name, field.type) for field in msgspec.structs.fields(kind)])


def arrow_field(name: str, kind: Any) -> pa.Field:
    """Return the Arrow field of an annotation. Pure. Raises TypeError for one that has no column type."""
    options = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    (only,) = [option for option in options if option is not type(None)]
    return pa.field(name, arrow_type(only), nullable=len(options) > 1)


def arrow_type(kind: Any) -> pa.DataType:
    """Return the Arrow type of an annotation without None. Pure. Raises TypeError."""
    if kind in SCALARS:
        return SCALARS[kind]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return pa.struct(schema_of(kind))
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return pa.string()
    if origin is dict:
        return pa.map_(arrow_type(arguments[0]), arrow_type(arguments[1]))
    if origin in (tuple, frozenset):
        return pa.list_(arrow_type(arguments[0]))
    raise TypeError(f"{kind}: a ledger has no column of this type")


def plain(value: Any) -> Any:
    """Return a value as Arrow takes it: Structs as dicts, mappings as sorted pairs, sets sorted. Pure."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return [(key, plain(item)) for key, item in sorted(value.items())]
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


def nested(value: Any, kind: pa.DataType) -> Any:
    """Return a value of Arrow's with pairs as mappings, at any depth. Pure."""
    if value is None:
        return None
    if pa.types.is_map(kind):
        return {key: nested(item, kind.item_type) for key, item in value}
    if pa.types.is_list(kind):
        return [nested(item, kind.value_type) for item in value]
    if pa.types.is_struct(kind):
        return {field.name: nested(value[field.name], field.type) for field in kind}
    return value
