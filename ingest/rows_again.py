"""Rows again: the rows of a damaged bronze file, derived from payloads. Pure."""

from collections.abc import Mapping

import pyarrow as pa

from ingest.entities import ORDERS, Entity
from ingest.observations import TOMBSTONE, Observation, observe
from ingest.schemas import LISTS
from ingest.typed_rows import type_rows

# Columns of a file by their name.
Columns = Mapping[str, pa.ChunkedArray]
# Columns of an observation that follow from nothing else.
UNDERIVED = ("payload", "is_deleted", "fetched_at", "run_id")
# The key of a part of an order in one observation.
PART_KEY = ("order_id", "position", "fetched_at", "run_id")


def rows_again(entity: Entity, columns: Columns) -> pa.Table | None:
    """Return the rows of a file of a list from its readable columns; None if they do not prove all rows."""
    if any(name not in columns for name in UNDERIVED):
        return None
    stored = {name: values.to_pylist() for name, values in columns.items()}
    live = [position for position, payload in enumerate(stored["payload"]) if payload is not None]
    count = len(stored["payload"])
    if len(live) < count and "id" not in stored:
        return None  # a tombstone has nothing but its id
    rows = [
        observe(entity, stored["payload"][position].encode(), stored["fetched_at"][position])
        for position in live
    ]
    hashes: list[str] = [TOMBSTONE] * count
    for position, row in zip(live, rows, strict=True):
        hashes[position] = row.hash
    if stored.get("payload_hash", hashes) != hashes:
        return None  # a payload was changed by an erasure
    typed = type_rows(entity, rows, run_id="").tables[entity.table]
    if typed.num_rows < len(rows):
        return None
    positions = {position: number for number, position in enumerate(live)}
    own = typed.take(pa.array([positions.get(position) for position in range(count)], pa.int64()))
    carried = {name: columns[name] for name in UNDERIVED} | {"payload_hash": pa.array(hashes, pa.string())}
    if len(live) < count:
        carried["id"] = columns["id"]
    return with_columns(own, carried, file_schema(entity.table))


def lines_again(orders: pa.Table, others: pa.Table, table: str) -> pa.Table | None:
    """Return the lines or expenses of orders that are not in ``others``; None if an order proves none."""
    found = orders.filter(orders["payload"].is_valid())
    groups: dict[str, list[Observation]] = {}
    for row in found.select(["payload", "payload_hash", "fetched_at", "run_id"]).to_pylist():
        observation = observe(ORDERS, row["payload"].encode(), row["fetched_at"])
        if observation.hash != row["payload_hash"]:
            return None
        groups.setdefault(row["run_id"], []).append(observation)
    typed = [type_rows(ORDERS, rows, run_id=run).tables[table] for run, rows in groups.items()]
    if not typed:
        return None
    present = set(zip(*(others[name].to_pylist() for name in PART_KEY), strict=True))
    rows = pa.concat_tables(typed)
    keys = zip(*(rows[name].to_pylist() for name in PART_KEY), strict=True)
    return rows.filter(pa.array([key not in present for key in keys], pa.bool_())).drop_columns(
        ["observed_on"]
    )


def with_columns(rows: pa.Table, columns: Mapping[str, pa.ChunkedArray], schema: pa.Schema) -> pa.Table:
    """Return the rows with some columns replaced, in a schema. Pure."""
    return pa.table({name: columns.get(name, rows[name]) for name in schema.names}, schema=schema)


def file_schema(table: str) -> pa.Schema:
    """Return the columns of a table's files, which lack the partition's column. Pure."""
    return pa.schema([field for field in LISTS[table].schema if field.name != "observed_on"])
