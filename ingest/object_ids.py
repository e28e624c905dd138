"""Ids of objects, also of those that are not as documented. Pure."""

import re
from typing import Any

import msgspec

from ingest.mending import DECODE_ERRORS, NotJson, mend
from ingest.plain_values import whole_number

# The id of an object that is no JSON, if it is the first field, as in every answer of the CRM.
WRITTEN_ID = re.compile(rb'\A\s*\{\s*"id"\s*:\s*("?)\s*(-?[0-9]{1,19})\s*\1\s*[,}]')


class AnyId(msgspec.Struct):
    """The id of an object, of any type."""

    id: Any


decoder = msgspec.json.Decoder(AnyId)


def id_of(value: object) -> int | None:
    """Return the id in a value, which may be a text; None if it is none."""
    try:
        return whole_number(value)
    except ValueError:
        return None


def object_id(payload: bytes) -> int | None:
    """Return the id of an object, even if its other text is broken; None if the id can't be read."""
    try:
        return id_of(decoder.decode(payload).id)
    except DECODE_ERRORS:
        pass
    try:
        return id_of(decoder.decode(mend(payload).payload).id)
    except (NotJson, *DECODE_ERRORS):
        match = WRITTEN_ID.match(payload)
        return id_of(match[2].decode()) if match else None
