"""Text tables: rows written by hand, converted to Arrow with the types of a table.

    id | grand_total | ordered_at       | promocode
    1  | 100.00      | 2026-06-01 09:00 | null
    2  | 0.01        | 2026-06-01 09:00 | ""

Instants without a zone are UTC, lists are JSON, ``""`` is an empty string, and a line that begins
with # is a comment. A column that is left out is null if it may be, and otherwise has its value in
``DEFAULTS``. A row with is_deleted is a tombstone.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from ingest.schemas import LISTS, SCHEMAS
from lake.query.session import Connection
from transform.models import Model
from transform.rules import rule_tables
from transform.settings import RulesSettings

Row = dict[str, Any]
INSTANT = "2026-06-01 09:00"
DEFAULTS: Mapping[str, str] = {
    "BIGINT": "1",
    "VARCHAR": "",
    "BOOLEAN": "false",
    "DATE": "2026-06-01",
    "TIMESTAMPTZ": INSTANT,
    "DECIMAL": "0",
    "VARCHAR[]": "[]",
    # Defaults by column name, if the default of the type would be meaningless.
    "quantity": "1",
    "rate": "1",
    "custom_fields": "[]",
    "sales_type": "other",
}


def as_instant(text: str) -> datetime:
    """Return the instant; without a zone it is UTC."""
    found = datetime.fromisoformat(text)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def kind_of(field: pa.Field) -> str:
    """Return a column's type as a key of ``DEFAULTS``."""
    tests: Mapping[str, Callable[[pa.DataType], bool]] = {
        "BIGINT": pa.types.is_integer,
        "VARCHAR": pa.types.is_string,
        "BOOLEAN": pa.types.is_boolean,
        "DATE": pa.types.is_date,
        "TIMESTAMPTZ": pa.types.is_timestamp,
        "DECIMAL": pa.types.is_decimal,
        "VARCHAR[]": pa.types.is_list,
    }
    return next(kind for kind, is_kind in tests.items() if is_kind(field.type))


READ: Mapping[str, Callable[[str], Any]] = {
    "BIGINT": int,
    "VARCHAR": lambda text: "" if text == '""' else text,
    "BOOLEAN": {"true": True, "false": False}.__getitem__,
    "DATE": date.fromisoformat,
    "TIMESTAMPTZ": as_instant,
    "DECIMAL": Decimal,
    "VARCHAR[]": json.loads,
}


def parse(text: str) -> tuple[list[str], list[dict[str, str]]]:
    """Return the column names, and the cells of each row."""
    lines = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
    columns, *rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    return columns, [dict(zip(columns, cells, strict=True)) for cells in rows]


def value_of(field: pa.Field, text: str | None) -> Any:
    """Return the value of a cell; None for "null" and for a missing cell."""
    return None if text in (None, "null") else READ[kind_of(field)](text)


def default(field: pa.Field) -> str:
    """Return the text of a missing cell in a column that may not be null."""
    return DEFAULTS.get(field.name, DEFAULTS[kind_of(field)])


def rows_of(schema: pa.Schema, text: str, promised: Iterable[str] = ()) -> pa.Table:
    """Return the rows of a text as Arrow of the schema, with missing columns filled in.

    Columns in ``promised`` are filled in too, except in tombstones.
    """
    columns, lines = parse(text)
    if unknown := set(columns) - set(schema.names):
        raise KeyError(f"no such column: {sorted(unknown)}; there are {schema.names}")
    needed = {field.name: default(field) for field in schema if not field.nullable}
    filled = needed | {name: default(schema.field(name)) for name in promised}
    rows = []
    for cells in lines:
        every = {**(needed if cells.get("is_deleted") == "true" else filled), **cells}
        rows.append({field.name: value_of(field, every.get(field.name)) for field in schema})
    return pa.Table.from_pylist(rows, schema=schema)


def bronze_rows(name: str, text: str = "") -> pa.Table:
    """Return rows of a bronze table; a tombstone has only its id and the columns of the text."""
    schema = SCHEMAS[name]
    columns = LISTS[name].columns if name in LISTS else {}
    promised = [column for column, kind in columns.items() if not kind.endswith("?")]
    return rows_of(schema, text or schema.names[0], promised)


def model_rows(model: Model, text: str) -> pa.Table:
    """Return rows of a model's table; ``month`` follows from its date."""
    schema = model.header.contract.schema
    month = model.header.month
    if not month:
        return rows_of(schema, text)
    own = rows_of(pa.schema([field for field in schema if field.name != "month"]), text)
    months = [day.replace(day=1) for day in own[month].to_pylist()]
    return own.append_column(schema.field("month"), pa.array(months, pa.date32())).cast(schema)


def make_given(
    connection: Connection, given: Mapping[str, str], rules: RulesSettings, models: Sequence[Model]
) -> None:
    """Create every schema, the bronze tables, the rules, and those model tables that are given.

    Raises ValueError if a given table does not exist.
    """
    tables = {*SCHEMAS, *(model.name for model in models)}
    if unknown := sorted(given.keys() - tables):
        raise ValueError(f"given {unknown[0]}: no such table; the tables are {', '.join(sorted(tables))}")
    for layer in ("bronze", "rules", "silver", "gold"):
        connection.execute(f"create schema {layer}")
    for name in SCHEMAS:
        make(connection, name, bronze_rows(name, given.get(name, "")))
    for rule in rule_tables(rules):
        make(connection, rule.name, rule.table)
    for model in models:
        if model.name in given:
            make(connection, model.name, model_rows(model, given[model.name]))


def make(connection: Connection, name: str, rows: pa.Table) -> None:
    """Create a table with the rows."""
    connection.register("given", rows)
    connection.execute(f"create table {name} as from given")
    connection.unregister("given")


def plain(row: Row) -> tuple[str, ...]:
    """Return a row's values as sortable text that is the same for equal values."""
    return tuple(
        f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else str(value)
        for value in row.values()
    )
