"""Contract: the columns, types and key that a table promises. Pure.

A type is written as in DuckDB (``DECIMAL(18,2)``), with ``?`` if the value may be missing. It maps
to exactly one Arrow type, so that DuckDB builds, Delta stores and readers get the same values.
"""

import re
from collections.abc import Mapping

import msgspec
import pyarrow as pa

from lake.errors import ContractBroken

SCALARS: dict[str, pa.DataType] = {
    "BIGINT": pa.int64(),
    "INTEGER": pa.int32(),
    "VARCHAR": pa.string(),
    "BOOLEAN": pa.bool_(),
    "DOUBLE": pa.float64(),
    "DATE": pa.date32(),
    "TIMESTAMPTZ": pa.timestamp("us", "UTC"),
    "VARCHAR[]": pa.list_(pa.string()),
    "MAP(VARCHAR, BIGINT)": pa.map_(pa.string(), pa.int64()),
}


class Column(msgspec.Struct, frozen=True):
    """One promised column; ``type`` is the name of a DuckDB type."""

    name: str
    type: str
    nullable: bool = False

    @property
    def arrow(self) -> pa.Field:
        """The Arrow field. Raises ContractBroken if a contract does not allow the type."""
        return pa.field(self.name, arrow_type(self.type), self.nullable)


class Contract(msgspec.Struct, frozen=True):
    """The promise of a table: every column, in order, and the key columns that identify a row."""

    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()

    @classmethod
    def of(cls, columns: Mapping[str, str], key: tuple[str, ...] = ()) -> "Contract":
        """Return the contract of columns such as ``{"id": "BIGINT", "buyer_id": "BIGINT?"}``."""
        return cls(
            columns=tuple(
                Column(name=name, type=text.removesuffix("?"), nullable=text.endswith("?"))
                for name, text in columns.items()
            ),
            key=key,
        )

    @property
    def schema(self) -> pa.Schema:
        """The columns as an Arrow schema."""
        return pa.schema([column.arrow for column in self.columns])


def differs(current: pa.Schema, promised: pa.Schema) -> bool:
    """True if two schemas differ in a name, a type or nullability. Their order does not matter to Delta."""
    return {field.name: field for field in current} != {field.name: field for field in promised}


def arrow_type(text: str) -> pa.DataType:
    """Return the Arrow type of a DuckDB type. Raises ContractBroken if a contract does not allow it."""
    if text in SCALARS:
        return SCALARS[text]
    if match := re.fullmatch(r"DECIMAL\((\d+),\s*(\d+)\)", text):
        return pa.decimal128(int(match[1]), int(match[2]))
    raise ContractBroken(f"{text}: not a contract type; use {', '.join(SCALARS)} or DECIMAL(p,s)")


def narrow(schema: pa.Schema) -> pa.Schema:
    """Return the schema with decimals in as few bytes as DuckDB and Parquet use. Pure."""
    return pa.schema([field.with_type(narrow_type(field.type)) for field in schema])


def narrow_type(kind: pa.DataType) -> pa.DataType:
    """Return the narrowest equivalent type; only decimals change. Pure."""
    if not pa.types.is_decimal(kind) or kind.precision > 18:
        return kind
    return (pa.decimal32 if kind.precision <= 9 else pa.decimal64)(kind.precision, kind.scale)


def breaks(schema: pa.Schema, promised: pa.Schema) -> list[str]:
    """Return one line for each difference between ``schema`` and ``promised`` in names, order or types.

    The number of bytes of a decimal in memory is not a difference.
    """
    if schema.names != promised.names:
        missing = [name for name in promised.names if name not in schema.names]
        extra = [name for name in schema.names if name not in promised.names]
        detail = f"missing {missing}, unexpected {extra}" if missing or extra else "in another order"
        return [f"columns are {schema.names}, the contract requires {promised.names}: {detail}"]
    return [
        f"{field.name} is {schema.field(field.name).type}, the contract requires {field.type}"
        for field in promised
        if narrow_type(schema.field(field.name).type) != narrow_type(field.type)
    ]
