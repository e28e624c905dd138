"""Plain values: a JSON value by its plain meaning as a number, a text, a boolean or an instant. Pure."""

import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

WHOLE_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,19}(\.0+)?\s*")
# A number in a text: `12`, `-0.5`, `.5`, `1e3`.
DECIMAL_NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")
# Texts that mean true or false.
BOOLEANS = {"1": True, "true": True, "0": False, "false": False}


def whole_number(value: Any) -> int:
    """Return an integer of 64 bits, also of a text or of a number with zeros after the point.

    Raises ValueError for anything else.
    """
    number: int | None = None
    if isinstance(value, str) and WHOLE_NUMBER.fullmatch(value):
        number = int(value.strip().partition(".")[0])
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, float | Decimal) and -(2**63) < value < 2**63 and value == int(value):
        number = int(value)
    if number is not None and -(2**63) <= number < 2**63:
        return number
    raise ValueError(f"expected an integer of 64 bits, got {kind_of(value)}")


def decimal_number(value: Any) -> Any:
    """Return a number that is one, or a text that has one as JSON or a database writes it.

    Raises ValueError for anything else: Python would also read underscores and other scripts' digits.
    """
    if isinstance(value, str) and not DECIMAL_NUMBER.fullmatch(value):
        raise ValueError("expected a number, got a text")
    return msgspec.convert(value.strip() if isinstance(value, str) else value, Decimal)


def plain_text(value: Any) -> str:
    """Return a text, also of a number. Raises ValueError."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"expected a text, got {kind_of(value)}")


def truth(value: Any) -> bool:
    """Return a boolean, also of 0 and 1 and of the texts that mean one; raises ValueError."""
    if isinstance(value, int | Decimal) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and (word := value.strip().lower()) in BOOLEANS:
        return BOOLEANS[word]
    raise ValueError(f"expected a boolean, got {kind_of(value)}")


def instant_text(value: Any) -> Any:
    """Return the text of an instant; raises ValueError, also for a zero date."""
    msgspec.convert(value, datetime)
    return value


def kind_of(value: Any) -> str:
    """Return the JSON type of a value."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


# How a value is read as a type, and the types of a value that is as documented. A number counts the same
# whether the CRM writes it as a number or as a text.
PLAIN: dict[Any, tuple[Callable[[Any], Any], tuple[type, ...]]] = {
    int: (whole_number, (int, str)),
    Decimal: (decimal_number, (int, Decimal, str)),
    str: (plain_text, (str,)),
    bool: (truth, (bool,)),
    datetime: (instant_text, (str,)),
}
