"""Param: one thing a URL may ask with. Pure.

What is checked and what the API's description says are the same record. A question
gets exactly what its address says: an unknown or repeated name is refused and not
passed over, because a filter that was mistyped would answer something else.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from serve.errors import BadQuestion

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


def excerpt(text: str) -> str:
    """Return a caller's text short enough for a message."""
    return repr(text if len(text) <= 60 else text[:57] + "…")


MAX_QUERY = 4000
MAX_VALUE = 200


class Param(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter: ``read`` turns its text into a value or raises ValueError with what is expected."""

    name: str
    about: str
    schema: Mapping[str, Any]
    read: Callable[[str], Any]
    default: Any = None
    many: bool = False


def day(name: str, about: str) -> Param:
    """Return a parameter for a shop day."""
    return Param(name=name, about=about, read=as_date, schema={"type": "string", "format": "date"})


def integer(name: str, about: str, *, least: int, most: int, default: int | None = None) -> Param:
    """Return a parameter for a whole number within bounds."""
    schema: dict[str, Any] = {"type": "integer", "minimum": least, "maximum": most}
    if default is not None:
        schema["default"] = default

    def read(text: str) -> int:
        expected = f"a whole number from {least} to {most}"
        value = as_integer(text, expected)
        if not least <= value <= most:
            raise ValueError(expected)
        return value

    return Param(name=name, about=about, read=read, default=default, schema=schema)


def choice(name: str, about: str, *, of: tuple[str, ...], default: str) -> Param:
    """Return a parameter for one of a few words."""

    def read(text: str) -> str:
        if text not in of:
            raise ValueError(" or ".join(of))
        return text

    return Param(
        name=name,
        about=about,
        read=read,
        default=default,
        schema={"type": "string", "enum": of, "default": default},
    )


def words(name: str, about: str) -> Param:
    """Return a parameter for free text that may be given several times."""
    schema = {"type": "array", "items": {"type": "string", "maxLength": MAX_VALUE}}
    return Param(name=name, about=about, read=str, default=(), many=True, schema=schema)


def word(name: str, about: str) -> Param:
    """Return a parameter for free text."""
    return Param(name=name, about=about, read=str, schema={"type": "string", "maxLength": MAX_VALUE})


RELEASE = integer("release", "Read an older release; the current one if not said.", least=1, most=MAX_INTEGER)
AS_OF = word(
    "as_of",
    "Read what was said then: a release's number, a tag, a time with its zone (`2026-03-31T18:00Z`), or a "
    "day (`2026-03-31`), which means the end of that day of the shop.",
)
WHICH = (RELEASE, AS_OF)
PERIOD = (
    day("from", "First shop day; with `to` left out, up to today."),
    day(
        "to",
        "Last shop day, included; with `from` left out, 30 days. Both left out: 30 days up to today, so far.",
    ),
)


def read_pairs(query: bytes) -> list[tuple[str, str]]:
    """Return the names and values of a URL's query. Raises BadQuestion where it is no query."""
    if len(query) > MAX_QUERY:
        raise BadQuestion(f"the query has {len(query)} characters; at most {MAX_QUERY} are taken")
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=200)
    except ValueError:
        raise BadQuestion("the query is not percent-encoded UTF-8 with at most 200 parameters") from None
    for name, value in pairs:
        if len(value) > MAX_VALUE:
            raise BadQuestion(
                f"{excerpt(name)}: the value has {len(value)} characters; at most {MAX_VALUE} are taken"
            )
        if "\0" in value or "\0" in name:
            raise BadQuestion(f"{excerpt(name)}: a NUL character can't be asked for")
    return pairs


def read_params(params: Iterable[Param], pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return ``{name: value}``, defaults included. Raises BadQuestion with what is allowed."""
    known = {param.name: param for param in params}
    values: dict[str, Any] = {}
    for name, text in pairs:
        if name not in known:
            raise BadQuestion(f"unknown parameter {excerpt(name)}; known are {', '.join(known) or 'none'}")
        param = known[name]
        if name in values and not param.many:
            raise BadQuestion(f"{name} is given more than once")
        value = read_value(param, text)
        values[name] = (*values.get(name, ()), value) if param.many else value
    found = {name: values.get(name, param.default) for name, param in known.items()}
    if found.get("release") is not None and found.get("as_of") is not None:
        raise BadQuestion("release and as_of both name a release; give one of them")
    first, last = found.get("from"), found.get("to")
    if first and last and first > last:
        raise BadQuestion(f"from {first} is after to {last}; put the earlier day first")
    return found


def read_value(param: Param, text: str) -> Any:
    """Return the value of one parameter."""
    try:
        return param.read(text)
    except ValueError as expected:
        raise BadQuestion(f"{param.name}: {excerpt(text)} is not valid; expected {expected}") from None
