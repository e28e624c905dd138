"""Observations: the objects of a page with the hash of their content. Pure.

The hash decides whether an object is a new state; only new states are typed, by ``ingest.typed_rows``.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from ingest.entities import LINE_IDENTITY, ORDERS, Entity
from ingest.mending import DECODE_ERRORS, NotJson, mend
from ingest.object_ids import id_of, object_id

# 128 bits: no two states of one id share a digest by chance.
HASH_BYTES = 16
# The hash of a tombstone, which has no content; no digest is this short.
TOMBSTONE = "gone"
encoder = msgspec.json.Encoder(order="sorted")


class Observation(msgspec.Struct, frozen=True):
    """One object as it arrived: its id (None if it has none), its content's hash, its bytes.

    The stamps are those in the object, None if it has none that can be read. If the bytes were no valid
    JSON, ``payload`` is what ``ingest.mending`` made of them, and ``mended`` has the fields that changed.
    """

    id: int | None
    hash: str
    payload: bytes
    fetched_at: datetime
    created_at: datetime | None = None
    updated_at: datetime | None = None
    mended: Mapping[str, bool] = {}


def observe(entity: Entity, payload: bytes, fetched_at: datetime) -> Observation:
    """Return the observation of a payload, with the hash of its own content."""
    try:
        return observe_json(entity, payload, fetched_at)
    except DECODE_ERRORS:
        pass
    try:
        mended = mend(payload)
        observation = observe_json(entity, mended.payload, fetched_at)
        return msgspec.structs.replace(observation, mended=mended.fields)
    except (NotJson, *DECODE_ERRORS):  # kept, and rejected with its bytes
        return Observation(object_id(payload), digest(payload), payload, fetched_at)


def observe_json(entity: Entity, payload: bytes, fetched_at: datetime) -> Observation:
    """Return the observation of valid JSON. Raises one of DECODE_ERRORS."""
    value = msgspec.json.decode(payload)
    fields = value if isinstance(value, dict) else {}
    stamps = instant(fields.get("created_at")), instant(fields.get("updated_at"))
    body = encoder.encode(strip(entity, value))
    return Observation(id_of(fields.get("id")), digest(body), payload, fetched_at, *stamps)


def digest(body: bytes) -> str:
    """Return the hash of a content."""
    return hashlib.blake2b(body, digest_size=HASH_BYTES).hexdigest()


def instant(text: object) -> datetime | None:
    """Return the instant in a text, in UTC if it names no zone; None for anything else.

    An instant outside the calendar's years in UTC is none.
    """
    try:
        stamp = datetime.fromisoformat(text) if isinstance(text, str) else None
        return stamp and (stamp.astimezone(UTC) if stamp.tzinfo else stamp.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return None


def strip(entity: Entity, value: Any) -> Any:
    """Reduce an object to its own content and return it: included objects by id, no volatile keys.

    It changes the object itself: a copy would take a fifth of the time of an observation.
    """
    if not isinstance(value, dict):
        return value
    for key in entity.volatile:
        value.pop(key, None)
    for key in entity.identity:
        value[key] = identity(value.get(key))
    lines = value.get("products") if entity is ORDERS else None
    if isinstance(lines, list | dict):
        for line in lines.values() if isinstance(lines, dict) else lines:
            if isinstance(line, dict):
                for key in LINE_IDENTITY:
                    if key in line:
                        line[key] = identity(line[key])
    return value


def identity(value: Any) -> Any:
    """Return the ids of an included object; any other value unchanged."""
    return [value.get("id"), value.get("product_id")] if isinstance(value, dict) else value


def tombstone(number: int, fetched_at: datetime) -> Observation:
    """Return the observation that an id no longer exists."""
    return Observation(number, TOMBSTONE, b"", fetched_at)
