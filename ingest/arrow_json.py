"""Typing of a batch of payloads by Arrow's own JSON reader. Pure.

It accepts only payloads that are as documented, which nearly all are. It takes half the time
of typing objects one by one, and mostly runs concurrently with other threads. If any payload
is not as documented, it rejects the batch, and ``ingest.observations`` types object by object.
So it may be stricter than that code, never laxer.
"""

import types
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from functools import cache, reduce
from itertools import accumulate
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from ingest.amounts import amount_column

# Type of a number, rounded later: it is never read as a float. One digit is spare for differences.
NUMBER = pa.decimal128(37, 18)
SCALARS: dict[Any, pa.DataType] = {
    int: pa.int64(),
    str: pa.string(),
    bool: pa.bool_(),
    Decimal: NUMBER,
    # Read as text: Arrow accepts more forms of an instant than bronze does.
    datetime: pa.string(),
}
# Numbers that Arrow's reader can't handle: it has powers of ten up to the 38th and does not check the bound.
# A number may be quoted, and a quoted one may have escaped characters. The patterns are matched one after
# another, which takes a third of the time of one expression, because each begins with fixed characters.
LONG_NUMBERS = (
    r'e-[0-9]{2,}["\s,\]}]',
    r'E-[0-9]{2,}["\s,\]}]',
    r"\.[0-9]{38}",
    r"\\u00(2[bdeBDE]|3[0-9]|45|65)",
)
STAMP = r"^(19|20)\d\d-\d\d-\d\d[T ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?"
NAIVE, ZONED = STAMP + "$", STAMP + r"(Z|[+-](0\d|1[0-4]):[0-5]\d)$"


class Undocumented(Exception):
    """A payload is not as documented, or not exactly."""


def read_rows(kind: type[msgspec.Struct], payloads: Sequence[bytes]) -> tuple[pa.StructArray, pa.StringArray]:
    """Return the objects, a row each, and the same payloads as text.

    Raises Undocumented if any payload does not fit ``kind``.
    """
    if not all(map(is_one_line_object, payloads)):
        raise Undocumented("not an object, or an object over several lines")
    try:
        texts = text_array(payloads)
        if any(pc.any(pc.match_substring_regex(texts, pattern)).as_py() for pattern in LONG_NUMBERS):
            raise Undocumented("a number with too many places")
        table = pa.json.read_json(
            pa.BufferReader(b"\n".join(payloads)),
            pa.json.ReadOptions(use_threads=False, block_size=sum(map(len, payloads)) + len(payloads) + 1),
            pa.json.ParseOptions(explicit_schema=schema(kind), unexpected_field_behavior="ignore"),
        )
    except pa.ArrowException as error:
        raise Undocumented(str(error)) from None
    if table.num_rows != len(payloads):
        raise Undocumented("two objects in one payload")
    [rows] = table.to_struct_array().chunks
    require_fields(kind, rows)
    return rows, texts


def text_array(payloads: Sequence[bytes]) -> pa.StringArray:
    """Return payloads as text in one buffer. Raises ArrowInvalid if one is no UTF-8."""
    ends = pa.array(accumulate(map(len, payloads), initial=0), pa.int32())
    texts = pa.StringArray.from_buffers(len(payloads), ends.buffers()[1], pa.py_buffer(b"".join(payloads)))
    texts.validate(full=True)
    return texts


def is_one_line_object(payload: bytes) -> bool:
    """True if a payload is one line that begins and ends like an object."""
    return payload[:1] == b"{" and payload[-1:] == b"}" and b"\n" not in payload and b"\0" not in payload


@cache
def schema(kind: type[msgspec.Struct]) -> pa.Schema:
    """Return the columns of an object whose every field has one type, or is empty."""
    return pa.schema(list(arrow_type(kind)))


def arrow_type(hint: Any) -> pa.DataType:
    """Return the Arrow type of a field. If the field may be an empty list too, it is ignored here."""
    if get_origin(hint) is Annotated:
        return arrow_type(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        [inner] = {arg for arg in get_args(hint) if arg not in (type(None), list[Any])}
        return arrow_type(inner)
    if get_origin(hint) is list:
        return pa.list_(arrow_type(get_args(hint)[0]))
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return pa.struct([pa.field(name, arrow_type(kind)) for name, kind in field_types(hint).items()])
    return SCALARS[hint]


@cache
def field_types(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the fields of an object and their types."""
    return get_type_hints(kind, include_extras=True)


def require_fields(kind: type[msgspec.Struct], rows: pa.StructArray) -> None:
    """Raise Undocumented if an object, none of which is null, lacks a required field, at any depth."""
    required = {field.encode_name for field in msgspec.structs.fields(kind) if field.required}
    for name, hint in field_types(kind).items():
        values = rows.field(name)
        if name in required and values.null_count:
            raise Undocumented(f"no {name}")
        inner = (pa.types.is_list(values.type) and values.flatten()) or values
        if pa.types.is_struct(inner.type):
            if inner is not values and inner.null_count:
                raise Undocumented(f"a null in {name}")
            require_fields(struct_type(hint), inner.drop_null())


def struct_type(hint: Any) -> type[msgspec.Struct]:
    """Return the Struct of a field that is one, an optional one, or a list of them."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint
    inner = get_args(hint)[:1] if get_origin(hint) is Annotated else get_args(hint)
    [kind] = {struct_type(arg) for arg in inner if arg not in (type(None), list[Any])}
    return kind


def column_at(rows: pa.StructArray, paths: Sequence[str], field: pa.Field) -> pa.Array:
    """Return one column of a bronze table: the first value at the paths. Raises Undocumented."""
    values = reduce(pc.coalesce, [value_at(rows, path) for path in paths])
    try:
        if pa.types.is_timestamp(field.type):
            return instants(values, field.type)
        if pa.types.is_decimal(field.type):
            return amount_column(values, field.type)
        return values.cast(field.type)
    except ValueError as error:  # ArrowInvalid is one
        raise Undocumented(str(error)) from None


def value_at(rows: pa.StructArray, path: str) -> pa.Array:
    """Return the values at a path of objects, none of which is null."""
    name, _, inner = path.partition(".")
    # A top-level field is free; computing a nested one lets other threads run and waits for its turn again.
    return pc.struct_field(rows.field(name), inner.split(".")) if inner else rows.field(name)


def instants(texts: pa.Array, kind: pa.TimestampType) -> pa.Array:
    """Return the instants in texts, in UTC if they name no zone; raises ValueError."""
    is_zoned = pc.match_substring_regex(texts, ZONED)
    if pc.all(is_zoned).as_py() is False:
        if pc.all(pc.or_(is_zoned, pc.match_substring_regex(texts, NAIVE))).as_py() is False:
            raise ValueError("a stamp in another form")
        texts = pc.if_else(is_zoned, texts, pc.binary_join_element_wise(texts, "Z", ""))
    return texts.cast(kind)


def flatten(rows: pa.StructArray, name: str) -> tuple[pa.Array, pa.Array, pa.StructArray]:
    """Return the elements of a list field: the index of each one's owner, its position from 1, and itself."""
    lists = rows.field(name)
    owners = pc.list_parent_indices(lists)
    before = lists.offsets.cast(pa.int64()).take(owners)
    places = pa.array(range(1, len(owners) + 1), pa.int64())
    return owners, pc.subtract(places, before), lists.flatten()
