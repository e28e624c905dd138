"""Parquet: how the rows of a table lie in its files."""

import pyarrow as pa
from deltalake import ColumnProperties, WriterProperties

# Texts of which the log says the least and the greatest in a file, so that it counts the rows that have each.
COUNTED = ("entity",)
# As differences from row to row: an instant, or an id, is mostly a little more than the one before, and a
# dictionary of values that hardly repeat is longer than they are.
STEPS = ColumnProperties(dictionary_enabled=False, encoding="DELTA_BINARY_PACKED", statistics_enabled="CHUNK")
# The least and the greatest payload would be most of a small file, and nobody asks for rows by them.
TEXT = ColumnProperties(statistics_enabled="NONE")
OTHERS = ColumnProperties(statistics_enabled="CHUNK")


def parquet(schema: pa.Schema) -> WriterProperties:
    """Return how rows of this schema are written. Pure.

    zstd makes a quarter of snappy's bytes of JSON payloads, which are most of bronze.
    """
    steps = {field.name: STEPS for field in schema if is_stepwise(field.type)}
    texts = {
        field.name: TEXT for field in schema if pa.types.is_string(field.type) and field.name not in COUNTED
    }
    return WriterProperties(
        compression="ZSTD",
        compression_level=3,
        default_column_properties=OTHERS,
        column_properties={**steps, **texts},
    )


def is_stepwise(kind: pa.DataType) -> bool:
    """True where values are whole numbers to Parquet, instants included. Pure."""
    return bool(pa.types.is_integer(kind) or pa.types.is_timestamp(kind))
