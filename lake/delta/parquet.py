"""Parquet: how the rows of a table lie in its files, in the words of either library that writes one."""

from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import ColumnProperties, WriterProperties

# Texts of which the log says the least and the greatest in a file, so that it counts the rows that have each.
COUNTED = ("entity",)
# zstd makes a quarter of snappy's bytes of JSON payloads, which are most of bronze.
LEVEL = 3
# Rows that are read together of a ledger, where one is asked for by its number.
GROUP = 1000
# As differences from row to row: an instant, or an id, is mostly a little more than the one before, and a
# dictionary of values that hardly repeat is longer than they are.

STEPS: Final = "DELTA_BINARY_PACKED"


def writer_properties(schema: pa.Schema) -> WriterProperties:
    """Return how delta-rs writes rows of this schema. Pure."""
    steps = ColumnProperties(dictionary_enabled=False, encoding=STEPS, statistics_enabled="CHUNK")
    told, untold = (ColumnProperties(statistics_enabled=how) for how in ("CHUNK", "NONE"))
    return WriterProperties(
        compression="ZSTD",
        compression_level=LEVEL,
        default_column_properties=told,
        column_properties={
            leaf(field): steps if is_stepwise(field) else told if is_told(field) else untold
            for field in schema
        },
    )


def arrow_options(schema: pa.Schema, *, level: int = LEVEL) -> dict[str, Any]:
    """Return the same for pyarrow's ParquetWriter. Pure."""
    return {
        "compression": "zstd",
        "compression_level": level,
        "column_encoding": {leaf(field): STEPS for field in schema if is_stepwise(field)},
        "use_dictionary": [leaf(field) for field in schema if not is_stepwise(field)],
        "write_statistics": [leaf(field) for field in schema if is_told(field)],
        "store_decimal_as_integer": True,
    }


def encoded(
    rows: pa.Table,
    *,
    level: int = LEVEL,
    rows_in_group: int | None = None,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Return the rows as a Parquet file. Pure."""
    # Memory of Arrow's own: into a Python object it would write a page at a time, and wait for its lock.
    to = pa.BufferOutputStream()
    options = arrow_options(rows.schema, level=level)
    with pq.ParquetWriter(to, rows.schema, store_schema=False, **options) as writer:
        writer.write_table(rows, rows_in_group)
        writer.add_key_value_metadata(metadata or {})
    content: bytes = to.getvalue().to_pybytes()
    return content


def leaf(field: pa.Field) -> str:
    """Return what Parquet calls the values of a column. Pure."""
    return f"{field.name}.list.element" if pa.types.is_list(field.type) else str(field.name)


def is_stepwise(field: pa.Field) -> bool:
    """True where values are whole numbers to Parquet, instants included. Pure."""
    return bool(pa.types.is_integer(field.type) or pa.types.is_timestamp(field.type))


def is_told(field: pa.Field) -> bool:
    """True where a file says the least and the greatest of its values. Pure.

    Of payloads they would be most of a small file, and nobody asks for rows by a text.
    """
    kind = field.type.value_type if pa.types.is_list(field.type) else field.type
    return not pa.types.is_string(kind) or field.name in COUNTED


def is_logged(field: pa.Field) -> bool:
    """True where a table's log says what values of a column each file has. Pure."""
    kind = field.type
    return pa.types.is_integer(kind) or pa.types.is_temporal(kind) or field.name in COUNTED
