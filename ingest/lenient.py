"""Leniency: an object with odd values, read by their plain meaning. Pure.

A field that gold counts with is strict: if its value has no plain meaning, the object is refused.
Such a field is required, or its type in ``ingest.entities`` is marked as counted. Any other field
without a plain meaning is left out, so its default applies. An element of a list that is marked as left out
costs only itself. Only objects that the strict decoder
refuses come here: this code takes a hundred times as long.
"""

import types
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
import pyarrow as pa

from ingest.columns import VALUE_ERRORS, column
from ingest.entities import COUNTED, LEFT_OUT
from ingest.mending import DECODE_ERRORS, DEEPEST
from ingest.plain_values import PLAIN, kind_of

# Errors for a value that has no plain meaning, or does not fit its column.
UNREADABLE = (*DECODE_ERRORS, *VALUE_ERRORS)
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


class StrictField(ValueError):
    """A strict field can't be read; ``field`` is its path."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


def read_object(kind: type[msgspec.Struct], payload: bytes, schemas: Schemas) -> OddObject:
    """Return the object in a payload; raises one of UNREADABLE if a strict field has no plain meaning."""
    odd: dict[str, bool] = {}
    plain = read_struct(kind, expand_dates(exact_decoder.decode(payload)), "", odd, schemas)
    return OddObject(msgspec.convert(plain, kind), tuple(OddField(name, odd[name]) for name in sorted(odd)))


exact_decoder = msgspec.json.Decoder(float_hook=Decimal)


def expand_dates(value: Any, key: str = "", depth: int = 0) -> Any:
    """Return the JSON value with each ``YYYY-MM-DD`` under an ``…_at`` or ``…_date`` key as an instant.

    Lists and objects deeper than DEEPEST are no part of any field; they become null.
    """
    if isinstance(value, dict | list) and depth >= DEEPEST:
        return None
    if isinstance(value, dict):
        return {name: expand_dates(item, name, depth + 1) for name, item in value.items()}
    if isinstance(value, list):
        return [expand_dates(item, "", depth + 1) for item in value]
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
            if is_left_out(field.type):
                fields[name], odd[place] = [], False
            elif field.required:
                raise StrictField(place, f"{place} is missing")
            continue
        inner: dict[str, bool] = {}
        try:
            fields[name] = read_value(field.type, value[name], place, inner, schemas)
            if kind in schemas and name in schemas[kind].names:
                fit(fields[name], schemas[kind].field(name))
            odd.update(inner)
        except UNREADABLE as error:
            fields.pop(name, None)
            if is_left_out(field.type):
                fields[name] = []
            elif field.required or is_counted(field.type):
                inner_field = error.field if isinstance(error, StrictField) else place
                raise StrictField(inner_field, reason_of(error, place)) from None
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
        return read_list(hint, get_args(lists[0])[0], item, path, odd, schemas)
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


def read_list(
    hint: Any, inner: Any, items: list[Any], path: str, odd: dict[str, bool], schemas: Schemas
) -> list[Any]:
    """Return a list's elements by their plain meaning; texts and objects that are null are left out."""
    kinds, _ = options(inner)
    if None in items and any(kind is str or is_struct(kind) for kind in kinds):
        odd[path] = True
        items = [item for item in items if item is not None]
    if not is_left_out(hint):
        return [read_value(inner, item, path, odd, schemas) for item in items]
    values = []
    for item in items:
        try:
            values.append(read_value(inner, item, path, odd, schemas))
        except UNREADABLE as error:
            odd[error.field if isinstance(error, StrictField) else path] = False
    return values


def read_scalar(kind: Any, item: Any, path: str, odd: dict[str, bool]) -> Any:
    """Return a text, number, boolean or instant."""
    read, documented = PLAIN[kind]
    value = read(item)
    if type(item) not in documented:
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


@cache
def is_left_out(hint: Any) -> bool:
    """Return True if a field's type is marked as a list whose unreadable elements are left out."""
    return LEFT_OUT in getattr(hint, "__metadata__", ())


def is_struct(kind: Any) -> bool:
    """Return True for the type of an object."""
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
