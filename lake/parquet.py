"""Parquet: how the rows of a table lie in its files."""

import pyarrow as pa
from deltalake import ColumnProperties, WriterProperties

# As differences from row to row: an instant, or an id, is mostly a little more than the one before, and a
# dictionary of values that hardly repeat is longer than they are.
STEPS = ColumnProperties(dictionary_enabled=False, encoding="DELTA_BINARY_PACKED")


def parquet(schema: pa.Schema) -> WriterProperties:
    """Return how rows of this schema are written. Pure.

    zstd makes a quarter of snappy's bytes of JSON payloads, which are most of bronze.
    """
    steps = {field.name: STEPS for field in schema if is_stepwise(field.type)}
    return WriterProperties(compression="ZSTD", compression_level=3, column_properties=steps)


def is_stepwise(kind: pa.DataType) -> bool:
    """True where values are whole numbers to Parquet, instants included. Pure."""
    return bool(pa.types.is_integer(kind) or pa.types.is_timestamp(kind))
