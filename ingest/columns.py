"""Column: values of one field as an Arrow column of a bronze table, without loss. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from ingest.amounts import amount, round_amount

# Errors for a value that does not fit its column; ArrowInvalid is a ValueError.
VALUE_ERRORS = (ValueError, OverflowError)


def column(values: Sequence[Any], field: pa.Field) -> pa.Array:
    """Return one column; raises one of VALUE_ERRORS if a value does not fit without loss."""
    if pa.types.is_timestamp(field.type):
        return pa.array([check_calendar(value, field.name) for value in values], field.type)
    if not pa.types.is_decimal(field.type):
        return pa.array(values, field.type)
    numbers = [amount(value, field.name) for value in values]
    try:
        return pa.array(numbers, field.type)
    except pa.ArrowInvalid:
        places = field.type.scale
        return pa.array([round_amount(value, places, field.name) for value in numbers], field.type)


def check_calendar(value: datetime | None, name: str) -> datetime | None:
    """Return the instant; raises ValueError if it is outside the calendar's years in UTC."""
    try:
        return value.astimezone(UTC) if value is not None and value.tzinfo else value
    except OverflowError:
        raise ValueError(f"{name} is {value}, which is no instant") from None
