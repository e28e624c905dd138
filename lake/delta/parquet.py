"""Parquet: compression, encodings and statistics of a table's files, for delta-rs and for pyarrow."""

from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import ColumnProperties, WriterProperties

# Text columns with the least and greatest value in the log, so that it can count the rows of each value.
COUNTED = ("entity",)
# zstd level. JSON payloads are most of bronze, and zstd compresses them to a quarter of snappy's bytes.
LEVEL = 3
# Rows in a row group of a ledger, so that a row with a known number is read without all the others.
GROUP = 1000
# The encoding of ids and instants: differences from row to row. Such a value is mostly a little greater than
# the one before, and values rarely repeat, so that a dictionary would be longer than the values.
STEPS: Final = "DELTA_BINARY_PACKED"


def writer_properties(schema: pa.Schema) -> WriterProperties:
    """Return the properties with which delta-rs writes rows of this schema. Pure."""
    steps = ColumnProperties(dictionary_enabled=False, encoding=STEPS, statistics_enabled="CHUNK")
    counted, plain = (ColumnProperties(statistics_enabled=level) for level in ("CHUNK", "NONE"))
    return WriterProperties(
        compression="ZSTD",
        compression_level=LEVEL,
        default_column_properties=counted,
        column_properties={
            leaf(field): steps if is_stepwise(field) else counted if has_statistics(field) else plain
            for field in schema
        },
    )


def arrow_options(schema: pa.Schema, *, level: int = LEVEL, checksums: bool = True) -> dict[str, Any]:
    """Return the same properties as options of pyarrow's ParquetWriter. Pure.

    ``checksums`` are those of pages. delta-rs has none.
    """
    return {
        "compression": "zstd",
        "compression_level": level,
        "column_encoding": {leaf(field): STEPS for field in schema if is_stepwise(field)},
        "use_dictionary": [leaf(field) for field in schema if not is_stepwise(field)],
        "write_statistics": [leaf(field) for field in schema if has_statistics(field)],
        "store_decimal_as_integer": True,
        "write_page_checksum": checksums,
    }


def encoded(
    rows: pa.Table,
    *,
    level: int = LEVEL,
    rows_in_group: int | None = None,
    metadata: Mapping[str, str] | None = None,
    checksums: bool = True,
) -> bytes:
    """Return the rows as the bytes of a Parquet file. Pure."""
    # A buffer in Arrow's memory. A Python object would get one page at a time, each after a wait for the GIL.
    buffer = pa.BufferOutputStream()
    options = arrow_options(rows.schema, level=level, checksums=checksums)
    with pq.ParquetWriter(buffer, rows.schema, store_schema=False, **options) as writer:
        writer.write_table(rows, rows_in_group)
        writer.add_key_value_metadata(metadata or {})
    content: bytes = buffer.getvalue().to_pybytes()
    return content


def leaf(field: pa.Field) -> str:
    """Return Parquet's path of the values of a column. Pure."""
    return f"{field.name}.list.element" if pa.types.is_list(field.type) else str(field.name)


def is_stepwise(field: pa.Field) -> bool:
    """True if Parquet stores the values as whole numbers, as it does with instants too. Pure."""
    return bool(pa.types.is_integer(field.type) or pa.types.is_timestamp(field.type))


def has_statistics(field: pa.Field) -> bool:
    """True if a file has the least and greatest value of a column. Pure.

    Text columns have none: two payloads would be most of a small file, and no query looks up rows by a text.
    """
    kind = field.type.value_type if pa.types.is_list(field.type) else field.type
    return not pa.types.is_string(kind) or field.name in COUNTED


def is_logged(field: pa.Field) -> bool:
    """True if a table's log has statistics of a column for each file. Pure."""
    kind = field.type
    return pa.types.is_integer(kind) or pa.types.is_temporal(kind) or field.name in COUNTED
