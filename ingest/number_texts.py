"""Numbers in texts: whether the strict decoder may read an object's numbers. Pure.

msgspec reads a text as a Decimal like Python does: `1_000` and digits of other scripts count as numbers,
which neither JSON nor the CRM means.
"""

import types
from decimal import Decimal
from functools import cache, reduce
from operator import or_
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from ingest.mending import DECODE_ERRORS
from ingest.plain_values import DECIMAL_NUMBER

NUMBER = int | float | Annotated[str, msgspec.Meta(pattern=rf"\A{DECIMAL_NUMBER.pattern}\Z")]


def has_plain_numbers(kind: type[msgspec.Struct], payload: bytes) -> bool:
    """Return True if each number of an object is one in JSON, or a text that looks like one."""
    decoder = number_decoder(kind)
    try:
        if decoder:
            decoder.decode(payload)
    except DECODE_ERRORS:
        return False
    return True


@cache
def number_decoder(kind: type[msgspec.Struct]) -> msgspec.json.Decoder[Any] | None:
    """Return a decoder of only the numbers of an object; None if it has none."""
    numbers = number_type(kind)
    return msgspec.json.Decoder(numbers) if numbers else None


def number_type(hint: Any) -> Any:
    """Return a type with NUMBER for each Decimal of another one, and no other fields; None if it has none."""
    if hint is Decimal:
        return NUMBER
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        fields = [(name, number_type(inner)) for name, inner in get_type_hints(hint).items()]
        numbers = [(name, inner | None, None) for name, inner in fields if inner]
        return msgspec.defstruct(f"NumbersOf{hint.__name__}", numbers) if numbers else None
    if get_origin(hint) is list:
        number = number_type(get_args(hint)[0])
        return types.GenericAlias(list, (number,)) if number else None
    if get_origin(hint) in (Union, types.UnionType):
        alternatives = [number for number in map(number_type, get_args(hint)) if number]
        return reduce(or_, alternatives, None) if alternatives else None
    return number_type(get_args(hint)[0]) if get_origin(hint) is Annotated else None
