"""Leniency: an object with odd values, read by their plain meaning. Pure.

A field that gold counts with is strict: if its value has no plain meaning, the object is refused.
Such a field is required, or its type in ``ingest.entities`` is marked as counted. Any other field
without a plain meaning is left out, so its default applies. Only objects that the strict decoder
refuses come here: this code takes a hundred times as long.
"""

import json
import re
import types
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
import pyarrow as pa

from ingest.columns import VALUE_ERRORS, column
from ingest.entities import COUNTED
from ingest.protocol import DECODE_ERRORS

# Errors for a value that has no plain meaning, or does not fit its column.
UNREADABLE = (*DECODE_ERRORS, *VALUE_ERRORS)
WHOLE_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,19}(\.0+)?\s*")
# Texts that mean true or false.
BOOLEANS = {"1": True, "true": True, "0": False, "false": False}
# Character in place of bytes that are no text.
REPLACEMENT = "\ufffd"
Json = dict[str, Any]
# The schema of the columns that a kind of object fills.
Schemas = Mapping[type[msgspec.Struct], pa.Schema]


class OddField(msgspec.Struct, frozen=True, order=True):
    """A field that is not as documented, named by its path, such as ``products.upsale``.

    ``is_read`` is False if the value has no plain meaning and the column has the field's default.
    """

    field: str
    is_read: bool


class OddObject(msgspec.Struct, frozen=True):
    """An object of an entity's kind, and its odd fields."""

    value: Any
    odd: tuple[OddField, ...]


def read_object(kind: type[msgspec.Struct], payload: bytes, schemas: Schemas) -> OddObject:
    """Return the object in a payload; raises one of UNREADABLE if a strict field has no plain meaning."""
    odd: dict[str, bool] = {}
    plain = read_struct(kind, expand_dates(read_json(payload)), "", odd, schemas)
    return OddObject(msgspec.convert(plain, kind), tuple(OddField(name, odd[name]) for name in sorted(odd)))


def read_json(payload: bytes) -> Any:
    """Return the JSON value, with exact numbers; bytes that are no text become U+FFFD."""
    try:
        return exact_decoder.decode(payload)
    except DECODE_ERRORS:
        return json.loads(payload.decode("utf-8", "replace"), parse_float=Decimal, parse_constant=refuse)


exact_decoder = msgspec.json.Decoder(float_hook=Decimal)


def refuse(text: str) -> None:
    """Raise ValueError for a word such as NaN, which is no JSON."""
    raise ValueError(f"{text} is no JSON")


def expand_dates(value: Any, key: str = "") -> Any:
    """Return the JSON value with each ``YYYY-MM-DD`` under an ``…_at`` or ``…_date`` key as an instant."""
    if isinstance(value, dict):
        return {name: expand_dates(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [expand_dates(item) for item in value]
    if isinstance(value, str) and len(value) == 10 and key.endswith(("_at", "_date")):
        return value + "T00:00:00Z"
    return value


def read_struct(
    kind: type[msgspec.Struct], value: Any, path: str, odd: dict[str, bool], schemas: Schemas
) -> Json:
    """Return the fields of an object by their plain meaning; note the odd ones in ``odd``."""
    if not isinstance(value, dict):
        raise ValueError(f"{path or 'the payload'} is not an object")
    fields: Json = {}
    for field in msgspec.structs.fields(kind):
        name = field.encode_name
        place = f"{path}.{name}" if path else name
        if name not in value:
            if field.required:
                raise ValueError(f"{place} is missing")
            continue
        inner: dict[str, bool] = {}
        try:
            fields[name] = read_value(field.type, value[name], place, inner, schemas)
            if kind in schemas and name in schemas[kind].names:
                fit(fields[name], schemas[kind].field(name))
            odd.update(inner)
        except UNREADABLE as error:
            if field.required or is_counted(field.type):
                raise ValueError(reason_of(error, place)) from None
            fields.pop(name, None)
            odd[place] = False
    return fields


def reason_of(error: Exception, place: str) -> str:
    """Return why a strict field is refused, with its path; never its value, which may be personal."""
    reason = str(error)
    return reason if reason.startswith((place, f"{place.rpartition('.')[2]} ")) else f"{place}: {reason}"


def fit(value: Any, field: pa.Field) -> None:
    """Raise one of VALUE_ERRORS if a number or an instant does not fit its column."""
    if isinstance(value, Decimal) and pa.types.is_decimal(field.type):
        column([value], field)
    elif isinstance(value, str) and pa.types.is_timestamp(field.type):
        column([msgspec.convert(value, datetime)], field)


def read_value(hint: Any, item: Any, path: str, odd: dict[str, bool], schemas: Schemas) -> Any:
    """Return the plain meaning of a value as a type; raises one of UNREADABLE if it has none."""
    kinds, is_nullable = options(hint)
    if Any in kinds or (item is None and is_nullable):
        return item
    if is_nullable and is_empty(item, kinds):
        odd[path] = True
        return None
    if isinstance(item, dict):
        if struct := next((kind for kind in kinds if is_struct(kind)), None):
            return read_struct(struct, item, path, odd, schemas)
        if all(map(str.isdigit, item)):  # PHP sends a list with gaps as an object
            odd[path] = True
            item = list(item.values())
    if isinstance(item, list) and (lists := [kind for kind in kinds if get_origin(kind) is list]):
        return read_list(get_args(lists[0])[0], item, path, odd, schemas)
    scalars = [kind for kind in kinds if kind in PLAIN]
    if not scalars:
        raise ValueError(f"{path} is {kind_of(item)}")
    return read_scalar(scalars[0], item, path, odd)


def is_empty(item: Any, kinds: tuple[Any, ...]) -> bool:
    """Return True for an empty text, list or object in a field of another type: PHP writes null so."""
    if item == "":
        return str not in kinds
    has_lists = any(get_origin(kind) is list for kind in kinds)
    return (item in ([], {}) and not has_lists) or (item == {} and any(map(is_struct, kinds)))


def read_list(inner: Any, items: list[Any], path: str, odd: dict[str, bool], schemas: Schemas) -> list[Any]:
    """Return a list's elements by their plain meaning; texts that are null are left out."""
    kinds, _ = options(inner)
    if str in kinds and None in items:
        odd[path] = True
        items = [item for item in items if item is not None]
    return [read_value(inner, item, path, odd, schemas) for item in items]


def read_scalar(kind: Any, item: Any, path: str, odd: dict[str, bool]) -> Any:
    """Return a text, number, boolean or instant."""
    read, documented = PLAIN[kind]
    value = read(item)
    if type(item) not in documented or (kind is str and (value != item or REPLACEMENT in value)):
        odd[path] = True
    return value


@cache
def options(hint: Any) -> tuple[tuple[Any, ...], bool]:
    """Return the types that a field may have, without constraints, and whether it may be null."""
    if get_origin(hint) is Annotated:
        return options(get_args(hint)[0])
    if get_origin(hint) not in (Union, types.UnionType):
        return (hint,), hint is type(None)
    parts = [options(part) for part in get_args(hint)]
    kinds = tuple(kind for part, _ in parts for kind in part if kind is not type(None))
    return kinds, any(is_nullable for _, is_nullable in parts)


@cache
def is_counted(hint: Any) -> bool:
    """Return True if a field's type is marked as counted."""
    return COUNTED in getattr(hint, "__metadata__", ()) or any(map(is_counted, get_args(hint)))


def is_struct(kind: Any) -> bool:
    """Return True for the type of an object."""
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


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
    """Return a number that is one, or a text that has one; raises ValueError."""
    return msgspec.convert(value.strip() if isinstance(value, str) else value, Decimal)


def plain_text(value: Any) -> str:
    """Return a text, also of a number; what is no text in it becomes U+FFFD. Raises ValueError."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
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
