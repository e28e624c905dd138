"""Contract: each type has one spelling and one Arrow type."""

import re

import pyarrow as pa
import pytest

from lake.delta.contract import Column, Contract, breaks, narrow
from lake.errors import ContractBroken


def test_a_question_mark_means_may_be_missing() -> None:
    """A column is nullable only if its type ends with a question mark."""
    contract = Contract.of({"id": "BIGINT", "buyer_id": "BIGINT?"})
    assert contract.columns == (Column("id", "BIGINT"), Column("buyer_id", "BIGINT", True))
    assert [field.nullable for field in contract.schema] == [False, True]


def test_types_outside_the_contract_are_named() -> None:
    """A typing error in a header is found before anything is built."""
    with pytest.raises(ContractBroken, match="NUMBER: not a contract type"):
        _ = Contract.of({"id": "NUMBER"}).schema


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": "BIGINT"}, "missing \\['total'\\]"),
        ({"id": "BIGINT", "total": "DOUBLE"}, "total is double, the contract requires decimal128"),
        ({"total": "DECIMAL(18,2)", "id": "BIGINT"}, "in another order"),
        ({"id": "BIGINT", "total": "DECIMAL(18,2)", "more": "DATE"}, "unexpected \\['more'\\]"),
    ],
)
def test_breaks_name_the_column_and_both_types(columns: dict[str, str], message: str) -> None:
    """The message tells an operator which column to change, and how."""
    promised = Contract.of({"id": "BIGINT", "total": "DECIMAL(18,2)"}).schema
    (line,) = breaks(Contract.of(columns).schema, promised)
    assert re.search(message, line)


def test_the_same_schema_breaks_nothing() -> None:
    """Nullability is not compared, because the table checks it row by row."""
    schema = Contract.of({"id": "BIGINT", "at": "TIMESTAMPTZ?"}).schema
    assert breaks(schema, schema) == []
    assert breaks(pa.schema([pa.field(field.name, field.type, True) for field in schema]), schema) == []


def test_a_decimal_is_the_same_in_fewer_bytes_and_not_in_fewer_digits() -> None:
    """Builds return decimals as narrow as DuckDB has them; only precision and scale are compared."""
    schema = Contract.of({"share": "DECIMAL(5,2)", "total": "DECIMAL(18,2)", "sum": "DECIMAL(38,2)"}).schema
    built = narrow(schema)
    assert built.types == [pa.decimal32(5, 2), pa.decimal64(18, 2), pa.decimal128(38, 2)]
    assert breaks(built, schema) == []
    (line,) = breaks(
        built, Contract.of({"share": "DECIMAL(5,2)", "total": "DECIMAL(18,4)", "sum": "DECIMAL(38,2)"}).schema
    )
    assert line.startswith("total is decimal64(18, 2), the contract requires decimal128(18, 4)")
