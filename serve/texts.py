"""What a caller wrote, as a value. Each raises ValueError with what is expected in its place. Pure."""

import re
from datetime import date
from decimal import Decimal

MAX_INTEGER = 2**63 - 1


def as_date(text: str) -> date:
    """Return an ISO date."""
    try:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError("a date like 2026-03-31") from None


def as_decimal(text: str) -> Decimal:
    """Return an exact number."""
    if not re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,6})?", text, re.ASCII):
        raise ValueError("a number like 1250.50")
    return Decimal(text)


def as_integer(text: str, expected: str = "a whole number") -> int:
    """Return a whole number of 64 bits."""
    if not re.fullmatch(r"-?[0-9]{1,19}", text, re.ASCII) or not -MAX_INTEGER <= int(text) <= MAX_INTEGER:
        raise ValueError(expected)
    return int(text)


def as_boolean(text: str) -> bool:
    """Return true or false."""
    if text not in ("true", "false"):
        raise ValueError("true or false")
    return text == "true"


def shown(text: str) -> str:
    """Return a caller's text short enough for a message."""
    return repr(text if len(text) <= 60 else text[:57] + "…")
