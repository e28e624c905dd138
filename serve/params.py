"""Params: the query parameters of a URL, declared once for parsing and for the API's description. Pure.

An unknown or repeated name is refused. If a mistyped filter were ignored, the
response would answer another question than the one in the URL.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import msgspec

from serve.errors import BadQuestion

# Characters of a query string.
MAX_QUERY = 4000
# Characters of one value.
MAX_VALUE = 200
# Parameters in one query string.
MAX_PARAMS = 200
# Largest integer that DuckDB's BIGINT holds.
MAX_INTEGER = 2**63 - 1


class Param(msgspec.Struct, frozen=True, kw_only=True):
    """One query parameter.

    ``about`` and ``schema`` are its text and JSON Schema in the API's description. ``read``
    turns the text of a value into the value; if it can't, it raises ValueError with the
    expected form. If ``many`` is set, the parameter may be repeated, and its value is a tuple.
    """

    name: str
    about: str
    schema: Mapping[str, Any]
    read: Callable[[str], Any]
    default: Any = None
    many: bool = False


def as_date(text: str) -> date:
    """Return a date from its ISO form. Raises ValueError with the expected form."""
    try:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError("a date like 2026-03-31") from None


def as_decimal(text: str) -> Decimal:
    """Return an exact number. Raises ValueError with the expected form."""
    if not re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,6})?", text, re.ASCII):
        raise ValueError("a number like 1250.50")
    return Decimal(text)


def as_integer(text: str, expected: str = "a whole number") -> int:
    """Return a 64-bit integer. Raises ValueError with the text ``expected``."""
    if not re.fullmatch(r"-?[0-9]{1,19}", text, re.ASCII) or not -MAX_INTEGER <= int(text) <= MAX_INTEGER:
        raise ValueError(expected)
    return int(text)


def as_boolean(text: str) -> bool:
    """Return True or False. Raises ValueError with the expected form."""
    if text not in ("true", "false"):
        raise ValueError("true or false")
    return text == "true"


def day(name: str, about: str) -> Param:
    """Return a parameter whose value is a shop day."""
    return Param(name=name, about=about, read=as_date, schema={"type": "string", "format": "date"})


def integer(name: str, about: str, *, least: int, most: int, default: int | None = None) -> Param:
    """Return a parameter whose value is an integer from ``least`` to ``most``."""
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
    """Return a parameter whose value is one of the words ``of``."""

    def read(text: str) -> str:
        if text not in of:
            raise ValueError(" or ".join(of))
        return text

    schema = {"type": "string", "enum": of, "default": default}
    return Param(name=name, about=about, read=read, default=default, schema=schema)


def word(name: str, about: str) -> Param:
    """Return a parameter whose value is free text."""
    return Param(name=name, about=about, read=str, schema={"type": "string", "maxLength": MAX_VALUE})


def words(name: str, about: str) -> Param:
    """Return a parameter that may be repeated; its value is a tuple of free texts."""
    schema = {"type": "array", "items": {"type": "string", "maxLength": MAX_VALUE}}
    return Param(name=name, about=about, read=str, default=(), many=True, schema=schema)


RELEASE = integer(
    "release", "Number of the release to read; default: the current one.", least=1, most=MAX_INTEGER
)
AS_OF = word(
    "as_of",
    "Read the release that served at this point: a release's number, a tag, a time with its zone "
    "(`2026-03-31T18:00Z`), or a day (`2026-03-31`), which means its end in the shop's time zone.",
)
WHICH = (RELEASE, AS_OF)
PERIOD = (
    day("from", "First shop day. If `to` is missing, the period ends today."),
    day(
        "to",
        "Last shop day, included. If `from` is missing, the period has 30 days. If both are missing, it "
        "is the last 30 days, today included.",
    ),
)


def read_pairs(query: bytes) -> list[tuple[str, str]]:
    """Return the names and values of a URL's query string, decoded. Raises BadQuestion if it is malformed."""
    if len(query) > MAX_QUERY:
        raise BadQuestion(f"the query has {len(query)} characters; at most {MAX_QUERY} are accepted")
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMS
        )
    except ValueError:
        raise BadQuestion(
            f"the query is not percent-encoded UTF-8 with at most {MAX_PARAMS} parameters"
        ) from None
    for name, value in pairs:
        _check_text(name, value)
    return pairs


def read_page_params(params: Sequence[Param], query: bytes) -> dict[str, Any]:
    """Return the values of a page's parameters; unknown ones are ignored, as links get some of trackers.

    Raises BadQuestion for a known one as ``read_params`` does.
    """
    names = {param.name for param in params}
    fields = [field for field in query.split(b"&") if name_of(field) in names]
    return read_params(params, read_pairs(b"&".join(fields)))


def name_of(field: bytes) -> str:
    """Return the name in one field of a query string."""
    return unquote_plus(field.partition(b"=")[0].decode("ascii", "replace"))


def read_params(params: Iterable[Param], pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the value of each parameter by name; a missing one has its default.

    Raises BadQuestion, with the accepted form, if a name is unknown or repeated, or a value is malformed.
    """
    known = {param.name: param for param in params}
    given: dict[str, Any] = {}
    for name, text in pairs:
        if name not in known:
            raise BadQuestion(f"unknown parameter {excerpt(name)}; accepted: {', '.join(known) or 'none'}")
        param = known[name]
        if name in given and not param.many:
            raise BadQuestion(f"{name} is given more than once")
        value = read_value(param, text)
        given[name] = (*given.get(name, ()), value) if param.many else value
    values = {name: given.get(name, param.default) for name, param in known.items()}
    _check_together(values)
    return values


def read_value(param: Param, text: str) -> Any:
    """Return the value of one parameter. Raises BadQuestion with the expected form."""
    try:
        return param.read(text)
    except ValueError as expected:
        raise BadQuestion(f"{param.name}: {excerpt(text)} is not valid; expected {expected}") from None


def excerpt(text: str) -> str:
    """Return a client's text in quotes, cut to 60 characters, for a message."""
    return repr(text if len(text) <= 60 else text[:57] + "…")


def _check_text(name: str, value: str) -> None:
    if len(value) > MAX_VALUE:
        raise BadQuestion(
            f"{excerpt(name)}: the value has {len(value)} characters; at most {MAX_VALUE} are accepted"
        )
    if "\0" in value or "\0" in name:
        raise BadQuestion(f"{excerpt(name)}: a NUL character is not accepted")


def _check_together(values: Mapping[str, Any]) -> None:
    if values.get("release") is not None and values.get("as_of") is not None:
        raise BadQuestion("release and as_of both name a release; give one of them")
    first, last = values.get("from"), values.get("to")
    if first and last and first > last:
        raise BadQuestion(f"from {first} is after to {last}; put the earlier day first")
