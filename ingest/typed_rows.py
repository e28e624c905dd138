"""Typed rows: objects as Arrow rows of bronze tables, and the objects that have no row. Pure.

If all orders of a batch are as documented, they are typed together: see ``ingest.arrow_json``. An
object with odd values is typed by their plain meaning: see ``ingest.lenient``. If a field that gold
counts with has none, the object goes to ``bronze.rejected`` with the reason, and no other object does.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
import pyarrow as pa

from ingest.arrow_json import Undocumented, column_at, flatten, read_rows, text_array
from ingest.columns import VALUE_ERRORS, column
from ingest.entities import ORDERS, Entity
from ingest.lenient import UNREADABLE, OddField, exact_decoder, expand_dates, read_object
from ingest.mending import DECODE_ERRORS
from ingest.number_texts import has_plain_numbers
from ingest.observations import Observation
from ingest.schemas import COLUMNS_OF, EXPENSES, LINES, LISTS, ODD_FIELDS, REJECTED, Layout
from lake.clock import shop_day

# Objects that are decoded together; an object takes ten times the memory of its columns.
OBJECTS_PER_BATCH = 250
Columns = dict[str, pa.Array]


class TypedRows(msgspec.Struct, frozen=True):
    """Rows per bronze table, in the order of their commits; the last table is the commit record.

    ``odd_fields`` are the odd fields of these rows, ``rejected`` the other objects.
    """

    tables: dict[str, pa.Table]
    rejected: pa.Table
    odd_fields: pa.Table = ODD_FIELDS.empty_table()


class TypedObject(msgspec.Struct, frozen=True):
    """An observation, its object as the entity's kind, and the object's odd fields."""

    row: Observation
    value: Any
    odd: tuple[OddField, ...] = ()


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
        concat([part.odd_fields for part in typed]),
    )


def concat(tables: Sequence[pa.Table]) -> pa.Table:
    """Return tables of one schema as one table."""
    return pa.concat_tables(tables).combine_chunks()


def type_objects(entity: Entity, rows: Sequence[Observation], run_id: str) -> TypedRows:
    """Return the rows as Arrow tables, decoding one object after another."""
    objects: list[TypedObject] = []
    rejected: list[tuple[Observation, str]] = []
    for row in rows:
        try:
            objects.append(decode(entity, row))
        except UNREADABLE as error:
            rejected.append((row, str(error)))
    try:
        tables = tabulate(entity, objects, run_id)
    except VALUE_ERRORS:
        objects, more = fit_one_by_one(entity, objects, run_id)
        tables, rejected = tabulate(entity, objects, run_id), rejected + more
    return TypedRows(tables, rejected_rows(entity, rejected, run_id), odd_rows(entity, objects, run_id))


def type_batch(rows: Sequence[Observation], run_id: str) -> TypedRows | None:
    """Return the orders as Arrow tables; None if one of them has to be typed by itself."""
    try:
        if not rows:
            return None
        mended = [TypedObject(row, None) for row in rows]
        return TypedRows(
            tabulate_batch(rows, run_id), rejected_rows(ORDERS, [], run_id), odd_rows(ORDERS, mended, run_id)
        )
    except Undocumented:
        return None


@cache
def decoder(kind: type[msgspec.Struct]) -> msgspec.json.Decoder[Any]:
    """Return the decoder of an entity's Struct; it is created once."""
    return msgspec.json.Decoder(kind)


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


def decode(entity: Entity, row: Observation) -> TypedObject:
    """Return the typed object; a bare date in a field of instants means its midnight in UTC.

    Raises one of UNREADABLE if a strict field can't be read.
    """
    if not has_plain_numbers(entity.kind, row.payload):
        return decode_odd(entity, row)
    try:
        return TypedObject(row, decoder(entity.kind).decode(row.payload))
    except DECODE_ERRORS:
        pass
    try:
        value = msgspec.convert(expand_dates(exact_decoder.decode(row.payload)), entity.kind)
        return TypedObject(row, value)
    except DECODE_ERRORS:
        return decode_odd(entity, row)


def decode_odd(entity: Entity, row: Observation) -> TypedObject:
    """Return an object with odd values by their plain meaning. Raises one of UNREADABLE."""
    found = read_object(entity.kind, row.payload, COLUMNS_OF)
    return TypedObject(row, found.value, found.odd)


def tabulate(entity: Entity, objects: Sequence[TypedObject], run_id: str) -> dict[str, pa.Table]:
    """Return the tables of the objects: an order's lines and expenses before the order itself."""
    layout = LISTS[entity.table]
    observations = [each.row for each in objects]
    records = [each.value for each in objects]
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


def fit_one_by_one(
    entity: Entity, objects: Sequence[TypedObject], run_id: str
) -> tuple[list[TypedObject], list[tuple[Observation, str]]]:
    """Return the objects that make rows, and the other objects with the reason.

    An object with a value that does not fit its column is read leniently, as if it could not be decoded.
    """
    good: list[TypedObject] = []
    rejected: list[tuple[Observation, str]] = []
    for each in objects:
        try:
            tabulate(entity, [each], run_id)
            good.append(each)
        except VALUE_ERRORS:
            try:
                fitting = decode_odd(entity, each.row)
                tabulate(entity, [fitting], run_id)
                good.append(fitting)
            except UNREADABLE as error:
                rejected.append((each.row, str(error)))
    return good, rejected


def odd_rows(entity: Entity, objects: Sequence[TypedObject], run_id: str) -> pa.Table:
    """Return the rows of ``bronze.odd_fields``: mended fields, and fields that are not as documented."""
    rows = [
        {
            "entity": entity.name,
            "id": each.row.id,
            "field": field,
            "is_read": is_read,
            "fetched_at": each.row.fetched_at,
            "run_id": run_id,
            "observed_on": shop_day(each.row.fetched_at),
        }
        for each in objects
        if each.odd or each.row.mended
        for field, is_read in odd_fields(each)
    ]
    return pa.Table.from_pylist(rows, schema=ODD_FIELDS)


def odd_fields(each: TypedObject) -> list[tuple[str, bool]]:
    """Return the names of an object's odd fields, in order, and whether each is read."""
    read = {odd.field: odd.is_read for odd in each.odd}
    mended = {name: is_read and read.get(name, True) for name, is_read in each.row.mended.items()}
    return sorted({**read, **mended}.items())


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
