"""Payload check: the rows of a bronze file against the payloads that they came from.

A payload has the hash with which it was fetched, and its typed columns are derived from it. So a row whose
payload has its hash proves or disproves its other columns. An erasure changes payloads and leaves their
hashes: such rows prove nothing. The lines and expenses of an order follow from the order's payload.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from io import BytesIO

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingest.entities import BY_TABLE, ORDERS, Entity
from ingest.observations import Observation, observe
from ingest.part_check import OF_ORDER, part_fault
from ingest.schemas import EXPENSES, LINES, LISTS
from ingest.typed_rows import type_rows
from lake.delta.checksum import is_intact
from lake.delta.files import Files
from lake.delta.tables import open_table
from lake.errors import LakeError
from lake.maintenance.file_check import NeededFile
from lake.paths import Lake

PARTS = (LINES.table, EXPENSES.table)
# The instant of an observation that is only hashed.
NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)


class PayloadCheck:
    """Compares the rows of a lake's bronze files with payloads; threads may share it."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._files = Files(lake.place)

    def fault(self, file: NeededFile, rows: pa.Table) -> str | None:
        """Return which rows of a file are not as the payloads; None if all are, or no payload proves any."""
        if file.table in PARTS:
            return part_fault(file.table, rows, self._orders_of(file, rows))
        return row_fault(file.table, rows)

    def _orders_of(self, file: NeededFile, rows: pa.Table) -> Iterator[pa.Table]:
        """Yield the orders that may have lines or expenses in a file, from one intact file after another."""
        if not rows.num_rows:
            return
        ends = pc.min_max(rows["order_id"]).as_py()
        day = file.path.split("/")[-2]
        for path, (least, greatest) in self._orders.items():
            if f"/{day}/" not in path or least > ends["max"] or greatest < ends["min"]:
                continue
            content = self._files.read_if_possible(path) or b""
            try:
                if is_intact(path, content):
                    yield pq.read_table(BytesIO(content), columns=list(OF_ORDER), use_threads=False)
            except (pa.ArrowException, OSError):  # it has no checksum; its own check reports it
                continue

    @cached_property
    def _orders(self) -> dict[str, tuple[int, int]]:
        """The least and the greatest id in each file of orders, by path; none if their log is damaged."""
        try:
            spans = open_table(self._lake, ORDERS.table).spans("id")
        except LakeError:
            return {}
        return {uri.removeprefix(f"{self._lake.place}/"): ends for uri, ends in sorted(spans.items())}


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
    """Return which rows of a bronze file are not as their own payloads; None if all are, or it has none."""
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
