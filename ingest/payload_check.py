"""Payload check: the rows of a bronze file against their own payloads. Pure.

A payload has the hash with which it was fetched, and its typed columns are derived from it. So a row whose
payload has its hash proves or disproves its other columns. An erasure changes payloads and leaves their
hashes: such rows prove nothing.
"""

from datetime import UTC, datetime

import msgspec
import pyarrow as pa

from ingest.entities import ENTITIES, Entity
from ingest.observations import Observation, observe
from ingest.schemas import LISTS
from ingest.typed_rows import type_rows

BY_TABLE = {entity.table: entity for entity in ENTITIES}
# The instant of an observation that is only hashed.
NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)


class RowStates(msgspec.Struct, frozen=True):
    """The rows of a file, by their position: ``proven`` by their payload, with ``typed`` columns from it.

    ``differing`` are proven rows whose stored columns are others. All other rows with a payload are
    ``unproven``: it was changed, by an erasure or by damage.
    """

    proven: list[int]
    typed: pa.Table
    differing: list[int]
    unproven: list[int]


def row_fault(table: str, rows: pa.Table) -> str | None:
    """Return which rows of a bronze file are not as their payloads; None if all are, or it has none."""
    entity = BY_TABLE.get(table)
    if entity is None:
        return None
    states = row_states(entity, rows)
    if not states.differing:
        return None
    ids = rows["id"].take(pa.array(states.differing[:3], pa.int64())).to_pylist()
    return (
        f"has {len(states.differing)} rows that differ from their payload, such as {', '.join(map(str, ids))}"
    )


def row_states(entity: Entity, rows: pa.Table) -> RowStates:
    """Return which rows are proven by their payloads, and which of them differ from these."""
    proven, unproven, observations = [], [], []
    hashes = rows["payload_hash"].to_pylist()
    for position, payload in enumerate(rows["payload"].to_pylist()):
        if payload is None:
            continue
        observation = observe(entity, payload.encode(), NO_TIME)
        if observation.hash == hashes[position]:
            proven.append(position)
            observations.append(observation)
        else:
            unproven.append(position)
    typed = typed_columns(entity, observations)
    if typed.num_rows < len(proven):  # a payload that this release of the code refuses
        return RowStates([], typed.slice(0, 0), [], [*proven, *unproven])
    stored = rows.take(pa.array(proven, pa.int64())).select(typed.column_names).cast(typed.schema)
    pairs = zip(proven, stored.to_pylist(), typed.to_pylist(), strict=True)
    return RowStates(proven, typed, [position for position, old, new in pairs if old != new], unproven)


def typed_columns(entity: Entity, observations: list[Observation]) -> pa.Table:
    """Return the columns that follow from the payloads, in their order."""
    typed = type_rows(entity, observations, run_id="").tables[entity.table]
    return typed.select(list(LISTS[entity.table].columns))
