"""A page of JSON to Arrow rows; what cannot be typed to ``rejected``, with the reason. Pure.

Two looks at each object: its content decides by a hash whether it is news at all,
and only what is news is typed. Types are strict: a number that is no number, or
money finer than a kopeck, rejects the object and nothing else. Orders are typed many
at once where all of them are as documented: see ``ingest.arrow_json``.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any

import msgspec
import pyarrow as pa

from ingest.amounts import amount, to_places
from ingest.arrow_json import Odd, as_text, column_at, flat, read
from ingest.entities import LINE_IDENTITY, ORDERS, Entity, Ref
from ingest.protocol import GARBAGE
from ingest.schemas import EXPENSES, LINES, LISTS, REJECTED, Layout
from lake.clock import shop_day

# 128 bits: no two states of one id will ever share a digest by chance.
HASH_BYTES = 16
AT_ONCE = 250
# What is raised for a value that is not of its column.
UNFIT = (ValueError, OverflowError)  # Arrow's own is a ValueError
# What stands for a hash where there is nothing to hash; no digest is this short.
GONE = "gone"
Columns = dict[str, pa.Array]
encoder = msgspec.json.Encoder(order="sorted")
exact_decoder = msgspec.json.Decoder(float_hook=Decimal)


class Seen(msgspec.Struct, frozen=True):
    """One object as it arrived: its id (None where it has none), its content's hash, its bytes.

    The stamps are what it says of itself, None where it says nothing that can be read.
    """

    id: int | None
    hash: str
    payload: bytes
    fetched_at: datetime
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Typed(msgspec.Struct, frozen=True):
    """Rows per bronze table, in the order to commit them; the last is the commit record."""

    tables: dict[str, pa.Table]
    rejected: pa.Table


def look(entity: Entity, payload: bytes, fetched_at: datetime) -> Seen:
    """Return an object's id and the hash of what is its own content."""
    try:
        value = msgspec.json.decode(payload)
        said = value if isinstance(value, dict) else {}
        stamps = instant(said.get("created_at")), instant(said.get("updated_at"))
        body = encoder.encode(strip(entity, value))
    except GARBAGE:  # broken text inside a whole page: kept, and refused as it is
        said, stamps, body = id_alone(payload), (None, None), payload
    found = said.get("id")
    digest = hashlib.blake2b(body, digest_size=HASH_BYTES).hexdigest()
    is_id = isinstance(found, int) and not isinstance(found, bool) and abs(found) < 2**63
    return Seen(found if is_id else None, digest, payload, fetched_at, *stamps)


def id_alone(payload: bytes) -> dict[str, int]:
    """Return the id of an object whose other text is broken; nothing where that can't be read either."""
    try:
        return {"id": msgspec.json.decode(payload, type=Ref).id}
    except GARBAGE:
        return {}


def instant(text: object) -> datetime | None:
    """Return the instant that a text spells, in UTC where it names no zone; None for anything else."""
    try:
        stamp = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return stamp.replace(tzinfo=UTC) if stamp and stamp.tzinfo is None else stamp


def strip(entity: Entity, value: Any) -> Any:
    """Leave of an object what is its own, and return it: included objects by id, no self-moving keys.

    The object is not as it was: a copy would take a fifth of the time of a look.
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
    """Return an included object by what names it; anything else as it is."""
    return [value.get("id"), value.get("product_id")] if isinstance(value, dict) else value


def type_rows(entity: Entity, rows: Sequence[Seen], *, run_id: str) -> Typed:
    """Return the rows as Arrow tables of the bronze schemas.

    What has to be objects first is so a few at a time: they take ten times the memory of columns.
    """
    if entity is ORDERS and (at_once := type_at_once(rows, run_id)):
        return at_once
    if len(rows) <= AT_ONCE:
        return type_objects(entity, rows, run_id)
    starts = range(0, len(rows), AT_ONCE)
    typed = [type_rows(entity, rows[start : start + AT_ONCE], run_id=run_id) for start in starts]
    return Typed(
        {name: whole([some.tables[name] for some in typed]) for name in typed[0].tables},
        whole([some.rejected for some in typed]),
    )


def whole(tables: Sequence[pa.Table]) -> pa.Table:
    """Return tables of one schema as one."""
    return pa.concat_tables(tables).combine_chunks()


def type_objects(entity: Entity, rows: Sequence[Seen], run_id: str) -> Typed:
    """Return the rows as Arrow tables, made of one object after another."""
    objects: list[tuple[Seen, Any]] = []
    refused: list[tuple[Seen, str]] = []
    for row in rows:
        try:
            objects.append((row, decode(entity, row.payload)))
        except GARBAGE as error:
            refused.append((row, str(error)))
    try:
        tables = tabulate(entity, objects, run_id)
    except UNFIT:
        tables, more = apart(entity, objects, run_id)
        refused += more
    return Typed(tables, rejects(entity, refused, run_id))


def type_at_once(rows: Sequence[Seen], run_id: str) -> Typed | None:
    """Return the orders as Arrow tables; None where one of them has to be looked at by itself."""
    try:
        return Typed(tabulate_batch(rows, run_id), rejects(ORDERS, [], run_id)) if rows else None
    except Odd:
        return None


@cache
def decoder(kind: type[msgspec.Struct]) -> msgspec.json.Decoder[Any]:
    """Return the decoder of an entity's Struct, made once."""
    return msgspec.json.Decoder(kind)


def gone(found: int, fetched_at: datetime) -> Seen:
    """Return the look that found no such id."""
    return Seen(found, GONE, b"", fetched_at)


def tombstones(entity: Entity, rows: Sequence[Seen], *, run_id: str) -> pa.Table:
    """Return the observations that these ids are gone."""
    found = [
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
    return pa.Table.from_pylist(found, schema=LISTS[entity.table].schema)


def decode(entity: Entity, payload: bytes) -> Any:
    """Return the typed object; a bare date where an instant belongs means its midnight in UTC."""
    try:
        return decoder(entity.kind).decode(payload)
    except msgspec.ValidationError:
        return msgspec.convert(with_times(exact_decoder.decode(payload)), entity.kind)


def with_times(value: Any, key: str = "") -> Any:
    """Return the JSON value with ``YYYY-MM-DD`` under an ``…_at`` or ``…_date`` key made an instant."""
    if isinstance(value, dict):
        return {name: with_times(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [with_times(item) for item in value]
    if isinstance(value, str) and len(value) == 10 and key.endswith(("_at", "_date")):
        return value + "T00:00:00Z"
    return value


def tabulate(entity: Entity, objects: Sequence[tuple[Seen, Any]], run_id: str) -> dict[str, pa.Table]:
    """Return the objects' tables: an order's lines and expenses before the order itself."""
    layout = LISTS[entity.table]
    seen = [row for row, _ in objects]
    found = [typed for _, typed in objects]
    own, carried = columns(layout, found), observed(seen, run_id)
    tables: dict[str, pa.Table] = {}
    if entity is ORDERS:
        tables[LINES.table] = parts(LINES, [order.products for order in found], own["id"], carried)
        tables[EXPENSES.table] = parts(EXPENSES, [order.expenses for order in found], own["id"], carried)
    if layout.has_payload:
        own["payload"] = payloads(seen)
    tables[entity.table] = pa.table({**own, **carried}, schema=layout.schema)
    return tables


def tabulate_batch(seen: Sequence[Seen], run_id: str) -> dict[str, pa.Table]:
    """Return the orders' tables as ``tabulate`` does. Raises Odd where it may not be for this to say."""
    rows, texts = read(ORDERS.kind, [row.payload for row in seen])
    layout = LISTS[ORDERS.table]
    own, carried = columns_at(layout, rows), observed(seen, run_id)
    tables = {}
    for part, name in ((LINES, "products"), (EXPENSES, "expenses")):
        owners, positions, found = flat(rows, name)
        own_parts = {"order_id": own["id"].take(owners), "position": positions, **columns_at(part, found)}
        tables[part.table] = part_table(part, own_parts, owners, carried)
    whole_rows = {**own, "payload": texts, **carried}
    return {**tables, layout.table: pa.table(whole_rows, schema=layout.schema)}


def columns_at(layout: Layout, rows: pa.StructArray) -> Columns:
    """Return the layout's own columns that are found at paths."""
    names, schema = {field.name for field in rows.type}, layout.schema
    return {
        name: column_at(rows, paths, schema.field(name))
        for name, paths in layout.paths.items()
        if paths[0].split(".")[0] in names
    }


def parts(layout: Layout, lists: Sequence[list[Any]], ids: pa.Array, carried: Columns) -> pa.Table:
    """Return the table of what orders consist of: one row a part, by order and position from 1."""
    owners = pa.array([owner for owner, items in enumerate(lists) for _ in items], pa.int64())
    positions = pa.array([place for items in lists for place in range(1, len(items) + 1)], pa.int64())
    found = columns(layout, [item for items in lists for item in items], skip=("order_id", "position"))
    return part_table(layout, {"order_id": ids.take(owners), "position": positions, **found}, owners, carried)


def part_table(layout: Layout, own: Columns, owners: pa.Array, carried: Columns) -> pa.Table:
    """Return the table of parts: their own columns, and what their owners carry."""
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
    """Return one column; raises one of UNFIT where a value does not fit losslessly."""
    if pa.types.is_timestamp(field.type):
        return pa.array([in_calendar(value, field.name) for value in values], field.type)
    if not pa.types.is_decimal(field.type):
        return pa.array(values, field.type)
    numbers = [amount(value, field.name) for value in values]
    try:
        return pa.array(numbers, field.type)
    except pa.ArrowInvalid:
        places = field.type.scale
        return pa.array([to_places(value, places, field.name) for value in numbers], field.type)


def in_calendar(value: datetime | None, name: str) -> datetime | None:
    """Return the instant; raises ValueError where it is beyond the years that there are, in UTC."""
    try:
        return value.astimezone(UTC) if value is not None and value.tzinfo else value
    except OverflowError:
        raise ValueError(f"{name} is {value}, which is no instant") from None


def observed(rows: Sequence[Seen], run_id: str) -> Columns:
    """Return what every observation carries."""
    days = {at: shop_day(at) for at in {row.fetched_at for row in rows}}
    return {
        "payload_hash": pa.array([row.hash for row in rows], pa.string()),
        "is_deleted": pa.repeat(pa.scalar(False), len(rows)),
        "fetched_at": pa.array([row.fetched_at for row in rows], pa.timestamp("us", "UTC")),
        "run_id": pa.repeat(pa.scalar(run_id), len(rows)),
        "observed_on": pa.array([days[row.fetched_at] for row in rows], pa.date32()),
    }


def payloads(rows: Sequence[Seen]) -> pa.Array:
    """Return the payloads as text; where one is no UTF-8, its odd bytes are shown, not lost."""
    try:
        return as_text([row.payload for row in rows])
    except pa.ArrowInvalid:
        return pa.array([text(row) for row in rows], pa.string())


def apart(
    entity: Entity, objects: Sequence[tuple[Seen, Any]], run_id: str
) -> tuple[dict[str, pa.Table], list[tuple[Seen, str]]]:
    """Return the tables of the objects that make rows, and the others with the reason; one at a time."""
    good = [tabulate(entity, [], run_id)]
    refused: list[tuple[Seen, str]] = []
    for pair in objects:
        try:
            good.append(tabulate(entity, [pair], run_id))
        except UNFIT as error:
            refused.append((pair[0], str(error)))
    return {name: whole([tables[name] for tables in good]) for name in good[0]}, refused


def rejects(entity: Entity, refused: Sequence[tuple[Seen, str]], run_id: str) -> pa.Table:
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
        for row, reason in refused
    ]
    return pa.Table.from_pylist(rows, schema=REJECTED)


def text(row: Seen) -> str:
    """Return the payload as text; bytes that are no UTF-8 are shown, not lost."""
    return row.payload.decode("utf-8", "backslashreplace")
