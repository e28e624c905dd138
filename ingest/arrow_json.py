"""Batch: many payloads as Arrow columns at once, by Arrow's own reader. Pure.

It takes what is as documented, which is nearly all, in half the time of one object after
another and mostly beside other threads; of anything else it takes nothing, and
``ingest.observations`` decides object by object. So it may be stricter than that, never laxer.
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

from ingest.amounts import amounts

# As it is spelled, to be rounded later: no number is read as a float. A digit is left for differences.
NUMBER = pa.decimal128(37, 18)
PLAIN: dict[Any, pa.DataType] = {
    int: pa.int64(),
    str: pa.string(),
    bool: pa.bool_(),
    Decimal: NUMBER,
    # Read as text: Arrow takes more for an instant than we do.
    datetime: pa.string(),
}
# Arrow reckons with its powers of ten up to the 38th, and does not look whether there is one. Numbers may be
# quoted, and what is quoted may be spelled by its code. Each begins with letters to go by: one after the
# other they take a third of the time of one expression.
TINY = (
    r'e-[0-9]{2,}["\s,\]}]',
    r'E-[0-9]{2,}["\s,\]}]',
    r"\.[0-9]{38}",
    r"\\u00(2[bdeBDE]|3[0-9]|45|65)",
)
STAMP = r"^(19|20)\d\d-\d\d-\d\d[T ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?"
NAIVE, ZONED = STAMP + "$", STAMP + r"(Z|[+-](0\d|1[0-4]):[0-5]\d)$"


class Odd(Exception):
    """Something in the payloads is not as documented, or only nearly."""


def read(kind: type[msgspec.Struct], payloads: Sequence[bytes]) -> tuple[pa.StructArray, pa.StringArray]:
    """Return the objects, one a row, and the same payloads as text.

    Raises Odd where any is not as ``kind`` has it.
    """
    if not all(map(is_plain, payloads)):
        raise Odd("no object, or one over several lines")
    try:
        texts = as_text(payloads)
        if any(pc.any(pc.match_substring_regex(texts, spelled)).as_py() for spelled in TINY):
            raise Odd("a number of very many places")
        found = pa.json.read_json(
            pa.BufferReader(b"\n".join(payloads)),
            pa.json.ReadOptions(use_threads=False, block_size=sum(map(len, payloads)) + len(payloads) + 1),
            pa.json.ParseOptions(explicit_schema=schema(kind), unexpected_field_behavior="ignore"),
        )
    except pa.ArrowException as error:
        raise Odd(str(error)) from None
    if found.num_rows != len(payloads):
        raise Odd("an object next to another")
    [rows] = found.to_struct_array().chunks
    complete(kind, rows)
    return rows, texts


def as_text(payloads: Sequence[bytes]) -> pa.StringArray:
    """Return payloads as text, all of it in one buffer. Raises ArrowInvalid where one is no UTF-8."""
    ends = pa.array(accumulate(map(len, payloads), initial=0), pa.int32())
    texts = pa.StringArray.from_buffers(len(payloads), ends.buffers()[1], pa.py_buffer(b"".join(payloads)))
    texts.validate(full=True)
    return texts


def is_plain(payload: bytes) -> bool:
    """True where a payload is one line that begins and ends as an object does."""
    return payload[:1] == b"{" and payload[-1:] == b"}" and b"\n" not in payload and b"\0" not in payload


@cache
def schema(kind: type[msgspec.Struct]) -> pa.Schema:
    """Return the columns of an object whose every field is one thing, or empty."""
    return pa.schema(list(arrow_of(kind)))


def arrow_of(hint: Any) -> pa.DataType:
    """Return the Arrow type of a field. One that may be empty in other ways too is read where it is not."""
    if get_origin(hint) is Annotated:
        return arrow_of(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        [one] = {arg for arg in get_args(hint) if arg not in (type(None), list[Any])}
        return arrow_of(one)
    if get_origin(hint) is list:
        return pa.list_(arrow_of(get_args(hint)[0]))
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return pa.struct([pa.field(name, arrow_of(of)) for name, of in hints(hint).items()])
    return PLAIN[hint]


@cache
def hints(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the fields of an object and what each may be."""
    return get_type_hints(kind, include_extras=True)


def complete(kind: type[msgspec.Struct], rows: pa.StructArray) -> None:
    """Raise Odd where an object, none of which is missing, lacks what it must have, or a part of one does."""
    required = {field.encode_name for field in msgspec.structs.fields(kind) if field.required}
    for name, hint in hints(kind).items():
        values = rows.field(name)
        if name in required and values.null_count:
            raise Odd(f"no {name}")
        inner = (pa.types.is_list(values.type) and values.flatten()) or values
        if pa.types.is_struct(inner.type):
            if inner is not values and inner.null_count:
                raise Odd(f"nothing among {name}")
            complete(part_of(hint), inner.drop_null())


def part_of(hint: Any) -> type[msgspec.Struct]:
    """Return the Struct that a field holds, or holds a list of, or may hold."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint
    [found] = {part_of(arg) for arg in get_args(hint) if arg not in (type(None), list[Any])}
    return found


def column_at(rows: pa.StructArray, paths: Sequence[str], field: pa.Field) -> pa.Array:
    """Return one column of a bronze table: the first value there is at the paths. Raises Odd."""
    values = reduce(pc.coalesce, [value_at(rows, path) for path in paths])
    try:
        if pa.types.is_timestamp(field.type):
            return instants(values, field.type)
        if pa.types.is_decimal(field.type):
            return amounts(values, field.type)
        return values.cast(field.type)
    except ValueError as error:  # Arrow's own is one
        raise Odd(str(error)) from None


def value_at(rows: pa.StructArray, path: str) -> pa.Array:
    """Return what is at a path of objects, none of which is missing."""
    name, _, inner = path.partition(".")
    # A field is at hand; to reckon what is further in, Arrow lets others run, and waits until it may go on.
    return pc.struct_field(rows.field(name), inner.split(".")) if inner else rows.field(name)


def instants(texts: pa.Array, kind: pa.TimestampType) -> pa.Array:
    """Return the instants that texts spell, in UTC where they name no zone; raises ValueError."""
    is_zoned = pc.match_substring_regex(texts, ZONED)
    if pc.all(is_zoned).as_py() is False:
        if pc.all(pc.or_(is_zoned, pc.match_substring_regex(texts, NAIVE))).as_py() is False:
            raise ValueError("a stamp of another form")
        texts = pc.if_else(is_zoned, texts, pc.binary_join_element_wise(texts, "Z", ""))
    return texts.cast(kind)


def flat(rows: pa.StructArray, name: str) -> tuple[pa.Array, pa.Array, pa.StructArray]:
    """Return what objects consist of: the place of each part's owner, its position from 1, and the part."""
    lists = rows.field(name)
    owners = pc.list_parent_indices(lists)
    before = lists.offsets.cast(pa.int64()).take(owners)
    places = pa.array(range(1, len(owners) + 1), pa.int64())
    return owners, pc.subtract(places, before), lists.flatten()
