"""What a table promises: columns, types, key. Pure.

A type is written in DuckDB's words (``DECIMAL(18,2)``), with ``?`` where the value
may be missing, and maps to exactly one Arrow type, so that what DuckDB builds,
Delta stores and a reader gets are the same.
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
    """One promised column; ``type`` in DuckDB's words."""

    name: str
    type: str
    nullable: bool = False

    @property
    def arrow(self) -> pa.Field:
        """The Arrow field. Raises ContractBroken for a type outside the contract's words."""
        return pa.field(self.name, arrow_type(self.type), self.nullable)


class Contract(msgspec.Struct, frozen=True):
    """A table's promise: every column, in order, and the columns that name a row."""

    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()

    @classmethod
    def of(cls, columns: Mapping[str, str], key: tuple[str, ...] = ()) -> "Contract":
        """Return the contract written as ``{"id": "BIGINT", "buyer_id": "BIGINT?"}``."""
        return cls(
            columns=tuple(
                Column(name=name, type=text.removesuffix("?"), nullable=text.endswith("?"))
                for name, text in columns.items()
            ),
            key=key,
        )

    @property
    def schema(self) -> pa.Schema:
        """The promise as an Arrow schema."""
        return pa.schema([column.arrow for column in self.columns])


def differs(held: pa.Schema, promised: pa.Schema) -> bool:
    """True where a contract changed: in names, types, or what may be missing; order is nothing to Delta."""
    return {field.name: field for field in held} != {field.name: field for field in promised}


def arrow_type(text: str) -> pa.DataType:
    """Return the Arrow type of a type in DuckDB's words."""
    if text in SCALARS:
        return SCALARS[text]
    if match := re.fullmatch(r"DECIMAL\((\d+),\s*(\d+)\)", text):
        return pa.decimal128(int(match[1]), int(match[2]))
    raise ContractBroken(f"{text}: no type of a contract; use {', '.join(SCALARS)} or DECIMAL(p,s)")


def narrow(schema: pa.Schema) -> pa.Schema:
    """Return the schema with decimals in as few bytes as DuckDB and Parquet have them. Pure."""
    return pa.schema([field.with_type(narrow_type(field.type)) for field in schema])


def narrow_type(kind: pa.DataType) -> pa.DataType:
    """Return a type in as few bytes as it needs. Pure."""
    if not pa.types.is_decimal(kind) or kind.precision > 18:
        return kind
    return (pa.decimal32 if kind.precision <= 9 else pa.decimal64)(kind.precision, kind.scale)


def breaks(found: pa.Schema, promised: pa.Schema) -> list[str]:
    """Return, a line each, where ``found`` is not ``promised``: names, order and types.

    In how many bytes a decimal lies in memory is nothing to a table.
    """
    if found.names != promised.names:
        missing = [name for name in promised.names if name not in found.names]
        extra = [name for name in found.names if name not in promised.names]
        detail = f"missing {missing}, unexpected {extra}" if missing or extra else "in another order"
        return [f"columns are {found.names}, the contract says {promised.names}: {detail}"]
    return [
        f"{field.name} is {found.field(field.name).type}, the contract says {field.type}"
        for field in promised
        if narrow_type(found.field(field.name).type) != narrow_type(field.type)
    ]
