"""Observations: the objects of a page, hashed, and typed as Arrow rows if their content is new. Pure.

The hash of an object's content decides whether it is a new state; only new states are typed.
Types are strict: if a number is no number, or money is finer than a kopeck, the object goes to
``bronze.rejected`` with the reason, and no other object does. If all orders of a batch are as
documented, they are typed together: see ``ingest.arrow_json``.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any

import msgspec
import pyarrow as pa

from ingest.amounts import amount, round_amount
from ingest.arrow_json import Undocumented, column_at, flatten, read_rows, text_array
from ingest.entities import LINE_IDENTITY, ORDERS, Entity, Ref
from ingest.protocol import DECODE_ERRORS
from ingest.schemas import EXPENSES, LINES, LISTS, REJECTED, Layout
from lake.clock import shop_day

# 128 bits: no two states of one id share a digest by chance.
HASH_BYTES = 16
# Objects that are decoded together; an object takes ten times the memory of its columns.
OBJECTS_PER_BATCH = 250
# Errors for a value that does not fit its column; ArrowInvalid is a ValueError.
VALUE_ERRORS = (ValueError, OverflowError)
# The hash of a tombstone, which has no content; no digest is this short.
TOMBSTONE = "gone"
Columns = dict[str, pa.Array]
encoder = msgspec.json.Encoder(order="sorted")
exact_decoder = msgspec.json.Decoder(float_hook=Decimal)


class Observation(msgspec.Struct, frozen=True):
    """One object as it arrived: its id (None if it has none), its content's hash, its bytes.

    The stamps are those in the object, None if it has none that can be read.
    """

    id: int | None
    hash: str
    payload: bytes
    fetched_at: datetime
    created_at: datetime | None = None
    updated_at: datetime | None = None


class TypedRows(msgspec.Struct, frozen=True):
    """Rows per bronze table, in the order of their commits; the last table is the commit record."""

    tables: dict[str, pa.Table]
    rejected: pa.Table


def observe(entity: Entity, payload: bytes, fetched_at: datetime) -> Observation:
    """Return the observation of a payload, with the hash of its own content."""
    try:
        value = msgspec.json.decode(payload)
        fields = value if isinstance(value, dict) else {}
        stamps = instant(fields.get("created_at")), instant(fields.get("updated_at"))
        body = encoder.encode(strip(entity, value))
    except DECODE_ERRORS:  # broken text inside a complete page: kept, and rejected with its bytes
        fields, stamps, body = partial_object(payload), (None, None), payload
    number = fields.get("id")
    digest = hashlib.blake2b(body, digest_size=HASH_BYTES).hexdigest()
    is_id = isinstance(number, int) and not isinstance(number, bool) and abs(number) < 2**63
    return Observation(number if is_id else None, digest, payload, fetched_at, *stamps)


def partial_object(payload: bytes) -> dict[str, int]:
    """Return the id of an object whose other text is broken; empty if the id can't be read either."""
    try:
        return {"id": msgspec.json.decode(payload, type=Ref).id}
    except DECODE_ERRORS:
        return {}


def instant(text: object) -> datetime | None:
    """Return the instant in a text, in UTC if it names no zone; None for anything else."""
    try:
        stamp = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return stamp.replace(tzinfo=UTC) if stamp and stamp.tzinfo is None else stamp


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
    if entity is ORDERS and isinstance(lines := value.get("products"), list):
        for line in lines:
            if isinstance(line, dict):
                for key in LINE_IDENTITY:
                    if key in line:
                        line[key] = identity(line[key])
    return value


def identity(value: Any) -> Any:
    """Return the ids of an included object; any other value unchanged."""
    return [value.get("id"), value.get("product_id")] if isinstance(value, dict) else value


def type_rows(entity: Entity, rows: Sequence[Observation], *, run_id: str) -> TypedRows:
    """Return the rows as bronze tables; rows that must become objects are typed in small batches."""
    if entity is ORDERS and (batch := type_batch(rows, run_id)):
        return batch
    if len(rows) <= OBJECTS_PER_BATCH:
        return type_objects(entity, rows, run_id)
    starts = range(0, len(rows), OBJECTS_PER_BATCH)
    typed = [type_rows(entity, rows[start : start + OBJECTS_PER_BATCH], run_id=run_id) for start in starts]
    return TypedRows(
        {name: concat([part.tables[name] for part in typed]) for name in typed[0].tables},
        concat([part.rejected for part in typed]),
    )


def concat(tables: Sequence[pa.Table]) -> pa.Table:
    """Return tables of one schema as one table."""
    return pa.concat_tables(tables).combine_chunks()


def type_objects(entity: Entity, rows: Sequence[Observation], run_id: str) -> TypedRows:
    """Return the rows as Arrow tables, decoding one object after another."""
    objects: list[tuple[Observation, Any]] = []
    rejected: list[tuple[Observation, str]] = []
    for row in rows:
        try:
            objects.append((row, decode(entity, row.payload)))
        except DECODE_ERRORS as error:
            rejected.append((row, str(error)))
    try:
        tables = tabulate(entity, objects, run_id)
    except VALUE_ERRORS:
        tables, more = type_one_by_one(entity, objects, run_id)
        rejected += more
    return TypedRows(tables, rejected_rows(entity, rejected, run_id))


def type_batch(rows: Sequence[Observation], run_id: str) -> TypedRows | None:
    """Return the orders as Arrow tables; None if one of them has to be typed by itself."""
    try:
        return TypedRows(tabulate_batch(rows, run_id), rejected_rows(ORDERS, [], run_id)) if rows else None
    except Undocumented:
        return None


@cache
def decoder(kind: type[msgspec.Struct]) -> msgspec.json.Decoder[Any]:
    """Return the decoder of an entity's Struct; it is created once."""
    return msgspec.json.Decoder(kind)


def tombstone(number: int, fetched_at: datetime) -> Observation:
    """Return the observation that an id no longer exists."""
    return Observation(number, TOMBSTONE, b"", fetched_at)


def tombstone_rows(entity: Entity, rows: Sequence[Observation], *, run_id: str) -> pa.Table:
    """Return tombstones as bronze rows."""
    deleted = [
        {
            "id": row.id,
            "payload_hash": row.hash,
            "is_deleted": True,
            "fetched_at": row.fetched_at,
            "run_id": run_id,
            "observed_on": shop_day(row.fetched_at),
        }
        for row in rows
    ]
    return pa.Table.from_pylist(deleted, schema=LISTS[entity.table].schema)


def decode(entity: Entity, payload: bytes) -> Any:
    """Return the typed object; a bare date in a field of instants means its midnight in UTC."""
    try:
        return decoder(entity.kind).decode(payload)
    except msgspec.ValidationError:
        return msgspec.convert(expand_dates(exact_decoder.decode(payload)), entity.kind)


def expand_dates(value: Any, key: str = "") -> Any:
    """Return the JSON value with each ``YYYY-MM-DD`` under an ``…_at`` or ``…_date`` key as an instant."""
    if isinstance(value, dict):
        return {name: expand_dates(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [expand_dates(item) for item in value]
    if isinstance(value, str) and len(value) == 10 and key.endswith(("_at", "_date")):
        return value + "T00:00:00Z"
    return value


def tabulate(entity: Entity, objects: Sequence[tuple[Observation, Any]], run_id: str) -> dict[str, pa.Table]:
    """Return the tables of the objects: an order's lines and expenses before the order itself."""
    layout = LISTS[entity.table]
    observations = [row for row, _ in objects]
    records = [typed for _, typed in objects]
    own, carried = columns(layout, records), observation_columns(observations, run_id)
    tables: dict[str, pa.Table] = {}
    if entity is ORDERS:
        tables[LINES.table] = part_rows(LINES, [order.products for order in records], own["id"], carried)
        tables[EXPENSES.table] = part_rows(
            EXPENSES, [order.expenses for order in records], own["id"], carried
        )
    if layout.has_payload:
        own["payload"] = payloads(observations)
    tables[entity.table] = pa.table({**own, **carried}, schema=layout.schema)
    return tables


def tabulate_batch(observations: Sequence[Observation], run_id: str) -> dict[str, pa.Table]:
    """Return the orders' tables like ``tabulate``. Raises Undocumented if a payload needs the slow way."""
    rows, texts = read_rows(ORDERS.kind, [row.payload for row in observations])
    layout = LISTS[ORDERS.table]
    own, carried = columns_at(layout, rows), observation_columns(observations, run_id)
    tables = {}
    for part, name in ((LINES, "products"), (EXPENSES, "expenses")):
        owners, positions, items = flatten(rows, name)
        own_parts = {"order_id": own["id"].take(owners), "position": positions, **columns_at(part, items)}
        tables[part.table] = part_table(part, own_parts, owners, carried)
    whole_rows = {**own, "payload": texts, **carried}
    return {**tables, layout.table: pa.table(whole_rows, schema=layout.schema)}


def columns_at(layout: Layout, rows: pa.StructArray) -> Columns:
    """Return the layout's own columns, read from their paths."""
    names, schema = {field.name for field in rows.type}, layout.schema
    return {
        name: column_at(rows, paths, schema.field(name))
        for name, paths in layout.paths.items()
        if paths[0].split(".")[0] in names
    }


def part_rows(layout: Layout, lists: Sequence[list[Any]], ids: pa.Array, carried: Columns) -> pa.Table:
    """Return the table of orders' parts: one row a part, by order and position from 1."""
    owners = pa.array([owner for owner, items in enumerate(lists) for _ in items], pa.int64())
    positions = pa.array([position for items in lists for position in range(1, len(items) + 1)], pa.int64())
    own = columns(layout, [item for items in lists for item in items], skip=("order_id", "position"))
    return part_table(layout, {"order_id": ids.take(owners), "position": positions, **own}, owners, carried)


def part_table(layout: Layout, own: Columns, owners: pa.Array, carried: Columns) -> pa.Table:
    """Return the table of parts: their own columns, and the observation columns of their owners."""
    of_owners = {name: values.take(owners) for name, values in carried.items()}
    return pa.table({**own, **of_owners}, schema=layout.schema)


def columns(layout: Layout, objects: Sequence[Any], skip: tuple[str, ...] = ()) -> Columns:
    """Return the layout's own columns of the objects."""
    schema = layout.schema
    return {
        name: column(list(map(getter, objects)), schema.field(name))
        for name, getter in layout.getters.items()
        if name not in skip
    }


def column(values: list[Any], field: pa.Field) -> pa.Array:
    """Return one column; raises one of VALUE_ERRORS if a value does not fit without loss."""
    if pa.types.is_timestamp(field.type):
        return pa.array([check_calendar(value, field.name) for value in values], field.type)
    if not pa.types.is_decimal(field.type):
        return pa.array(values, field.type)
    numbers = [amount(value, field.name) for value in values]
    try:
        return pa.array(numbers, field.type)
    except pa.ArrowInvalid:
        places = field.type.scale
        return pa.array([round_amount(value, places, field.name) for value in numbers], field.type)


def check_calendar(value: datetime | None, name: str) -> datetime | None:
    """Return the instant; raises ValueError if it is outside the calendar's years in UTC."""
    try:
        return value.astimezone(UTC) if value is not None and value.tzinfo else value
    except OverflowError:
        raise ValueError(f"{name} is {value}, which is no instant") from None


def observation_columns(rows: Sequence[Observation], run_id: str) -> Columns:
    """Return the columns that every observation has."""
    days = {moment: shop_day(moment) for moment in {row.fetched_at for row in rows}}
    return {
        "payload_hash": pa.array([row.hash for row in rows], pa.string()),
        "is_deleted": pa.repeat(pa.scalar(False), len(rows)),
        "fetched_at": pa.array([row.fetched_at for row in rows], pa.timestamp("us", "UTC")),
        "run_id": pa.repeat(pa.scalar(run_id), len(rows)),
        "observed_on": pa.array([days[row.fetched_at] for row in rows], pa.date32()),
    }


def payloads(rows: Sequence[Observation]) -> pa.Array:
    """Return the payloads as text; bytes that are no UTF-8 are escaped, not lost."""
    try:
        return text_array([row.payload for row in rows])
    except pa.ArrowInvalid:
        return pa.array([text(row) for row in rows], pa.string())


def type_one_by_one(
    entity: Entity, objects: Sequence[tuple[Observation, Any]], run_id: str
) -> tuple[dict[str, pa.Table], list[tuple[Observation, str]]]:
    """Return the tables of the objects that make rows, and the other objects with the reason."""
    good = [tabulate(entity, [], run_id)]
    rejected: list[tuple[Observation, str]] = []
    for pair in objects:
        try:
            good.append(tabulate(entity, [pair], run_id))
        except VALUE_ERRORS as error:
            rejected.append((pair[0], str(error)))
    return {name: concat([tables[name] for tables in good]) for name in good[0]}, rejected


def rejected_rows(entity: Entity, rejected: Sequence[tuple[Observation, str]], run_id: str) -> pa.Table:
    """Return the rows of ``bronze.rejected``."""
    rows = [
        {
            "entity": entity.name,
            "id": row.id,
            "reason": reason,
            "payload": text(row),
            "payload_hash": row.hash,
            "fetched_at": row.fetched_at,
            "run_id": run_id,
            "observed_on": shop_day(row.fetched_at),
        }
        for row, reason in rejected
    ]
    return pa.Table.from_pylist(rows, schema=REJECTED)


def text(row: Observation) -> str:
    """Return the payload as text; bytes that are no UTF-8 are escaped, not lost."""
    return row.payload.decode("utf-8", "backslashreplace")
