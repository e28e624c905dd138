"""Writer: append new states to bronze, the parts of an order before the order itself.

The order's row is the commit record of its lines and expenses, and is appended last. If a
crash comes between the commits, no reader counts the lines without their order, and the next
observation appends all of them again.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeVar

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from ingest.completeness import EvidenceWriter
from ingest.deduplication import Deduplicator
from ingest.entities import ENTITIES, ORDERS, Entity
from ingest.observations import Observation
from ingest.schemas import SCHEMAS
from ingest.typed_rows import tombstone_rows, type_rows
from ingest.windows import Window
from lake.delta.table import Table
from lake.delta.tables import create_table, open_table
from lake.delta.writer import Staged
from lake.paths import Lake
from lake.query.session import Connection

Result = TypeVar("Result")
REJECTED, ODD_FIELDS = "bronze.rejected", "bronze.odd_fields"
# Ids in a gap that is requested: more orders than any shop deletes in a row.
LONGEST_GAP = 10_000
# One thread that stages lines and expenses while the caller stages the orders.
STAGER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stage")
# Delta's statistics truncate instants to this.
MILLISECOND = timedelta(milliseconds=1)


class EntityStates(msgspec.Struct, frozen=True):
    """What is not as documented in the newest states of an entity.

    ``odd`` fields have their name, whether they are read, the number of ids, and one id.
    """

    entity: str
    odd: tuple[tuple[str, bool, int, int], ...]
    refused: tuple[int, ...]


class Writer:
    """The open bronze tables of one run, each with its deduplicator.

    ``appended`` counts rows per table. If ``evidence`` is given, it gets every order that arrives. With
    ``again``, rows are appended even if their content is unchanged.
    """

    def __init__(
        self,
        lake: Lake,
        connection: Connection,
        *,
        run_id: str,
        evidence: EvidenceWriter | None = None,
        excluded_runs: Collection[str] = (),
        again: bool = False,
    ) -> None:
        self._again = again
        self._excluded_runs = excluded_runs
        self._lake = lake
        self._duckdb = connection
        self._run_id = run_id
        self._evidence = evidence
        self._tables: dict[str, Table] = {}
        self._deduplicators: dict[str, Deduplicator] = {}
        # (entity, payload hash) and (entity, id) of the objects rejected in this run.
        self._rejected: set[tuple[str, str]] = set()
        self._rejected_now: set[tuple[str, int]] = set()
        # (entity, payload hash) of those of them that have no readable id.
        self._unidentified: set[tuple[str, str]] = set()
        # Entities that this run has appended observations or refusals of.
        self._changed: set[str] = set()
        self.appended: Counter[str] = Counter()

    def create_tables(self) -> None:
        """Create the bronze tables that do not exist, so that all of them can be read."""
        for name in SCHEMAS:
            self._table(name)

    @property
    def rejected(self) -> int:
        """How many objects were rejected in this run; an object that came twice counts once."""
        return len(self._rejected)

    @property
    def newest(self) -> datetime | None:
        """When the newest observation of the lake was made, up to a millisecond later."""
        stamps = [self._table(name).maximum("fetched_at") for name in SCHEMAS]
        known = [stamp for stamp in stamps if isinstance(stamp, datetime)]
        return max(known) + MILLISECOND if known else None

    def write(self, entity: Entity, rows: Sequence[Observation]) -> None:
        """Append the new states among the rows; if an id occurs several times, its last row counts."""
        if self._evidence and entity is ORDERS:
            self._evidence.add(rows)
        by_time = sorted(rows, key=lambda row: row.fetched_at)
        latest = {row.id if row.id is not None else row.hash: row for row in by_time}
        deduplicator = self._deduplicator(entity)
        new = list(latest.values()) if self._again else deduplicator.new_states(list(latest.values()))
        typed = type_rows(entity, new, run_id=self._run_id)
        # Files are staged concurrently, and committed one table after the other.
        others = {name: typed.tables[name] for name in typed.tables if name != entity.table}
        parts = submit(self._stage, {**others, ODD_FIELDS: typed.odd_fields})
        try:
            staged = deduplicator.table.stage(typed.tables[entity.table])
        finally:
            wait([parts])
        for name, part in parts.result().items():
            self._append(name, part)
        if self._again:
            deduplicator.table.append(staged)
            self._count(entity, staged.count)
        else:
            self._count(entity, deduplicator.append_staged(typed.tables[entity.table], staged))
        self._reject(entity, typed.rejected)

    def flush_evidence(self) -> None:
        """Write the completeness evidence that is not written yet, if the run collects any."""
        if self._evidence:
            self._evidence.flush()

    def absent_orders(self, window: Window, *, listed: Set[int]) -> list[int]:
        """Return the orders created in the window, not deleted, that are not in ``listed``."""
        return self._deduplicator(ORDERS).absent_ids(window.since, window.until, listed=listed)

    def gap_ids(self, since: datetime, *, first_id: int | None, limit: int) -> tuple[list[int], int]:
        """Return ids that were never observed nor requested, newest first, and the number of all such ids.

        They lie between orders created from ``since`` on, or from ``first_id`` on if it is given.
        The CRM's ids are dense, so each gap has a cause. A rejected order is no gap, and neither are the ids
        below one that is far from all others.
        """
        gaps = self._deduplicator(ORDERS).id_gaps(since, first_id=first_id, longest=LONGEST_GAP)
        ids = islice((number for first, last in gaps for number in range(last, first - 1, -1)), limit)
        return list(ids), sum(last - first + 1 for first, last in gaps)

    def write_tombstones(self, entity: Entity, rows: Sequence[Observation]) -> None:
        """Append tombstones of ids that the CRM no longer has, if they are not known as deleted."""
        deduplicator = self._deduplicator(entity)
        tombstones = tombstone_rows(entity, deduplicator.new_states(rows), run_id=self._run_id)
        self._count(entity, deduplicator.append(tombstones))

    def known_rows(self, entity: Entity, rows: Sequence[Observation]) -> list[Observation]:
        """Return the rows whose ids the lake has an observation of."""
        known = self._deduplicator(entity).known_ids({row.id for row in rows if row.id is not None})
        return [row for row in rows if row.id in known]

    def live_count(self, entity: Entity, *, up_to: int | None = None) -> int:
        """Return how many ids are not deleted, refused ones too; up to an id if one is given."""
        return self._deduplicator(entity).live_count(up_to)

    def unidentified(self, entity: Entity) -> int:
        """Return how many objects without a readable id this run has seen."""
        return sum(name == entity.name for name, _ in self._unidentified)

    def refused_ids(self, entity: Entity) -> list[int]:
        """Return the ids whose newest state is a refusal that this run has not seen."""
        now = {number for name, number in self._rejected_now if name == entity.name}
        return sorted(self._deduplicator(entity).refused_ids() - now)

    def entity_states(self) -> Iterator[EntityStates]:
        """Yield the odd fields and refusals of each entity that this run has changed."""
        for entity in ENTITIES:
            if entity.name in self._changed:
                deduplicator = self._deduplicator(entity)
                # Opened again: other runs may have appended since this one began.
                odd = deduplicator.odd_fields(open_table(self._lake, ODD_FIELDS))
                yield EntityStates(entity.name, tuple(odd), tuple(sorted(deduplicator.refused_ids())))

    def _count(self, entity: Entity, appended: int) -> None:
        self.appended[entity.table] += appended
        if appended:
            self._changed.add(entity.name)

    def _deduplicator(self, entity: Entity) -> Deduplicator:
        """Return the entity's deduplicator, opened when it is first used."""
        if entity.table not in self._deduplicators:
            opened = Deduplicator(self._lake, self._duckdb, entity.table, excluded_runs=self._excluded_runs)
            if self._table(REJECTED).uris():
                opened.read_refusals(open_table(self._lake, REJECTED))
            self._deduplicators[entity.table] = opened
        return self._deduplicators[entity.table]

    def _reject(self, entity: Entity, rows: pa.Table) -> None:
        """Append refusals that are new states; without an id, those whose bytes were never refused."""
        if not rows.num_rows:
            return
        self._rejected.update((entity.name, digest) for digest in rows["payload_hash"].to_pylist())
        self._rejected_now.update((entity.name, number) for number in rows["id"].drop_null().to_pylist())
        without_id = rows.filter(pc.field("id").is_null())
        self._unidentified.update((entity.name, digest) for digest in without_id["payload_hash"].to_pylist())
        # Opened again: in a long load, compaction and vacuum may have deleted the files of an older version.
        table = open_table(self._lake, REJECTED)
        deduplicator = self._deduplicator(entity)
        deduplicator.read_refusals(table)
        new = pa.concat_tables(
            [
                deduplicator.new_refusals(rows.filter(pc.field("id").is_valid())),
                new_payloads(entity, table, without_id),
            ]
        )
        if new.num_rows:
            table.append(new.combine_chunks())
            deduplicator.read_refusals(table)
            self.appended[REJECTED] += new.num_rows
            self._changed.add(entity.name)

    def _stage(self, tables: Mapping[str, pa.Table]) -> dict[str, Staged]:
        return {name: self._table(name).stage(rows) for name, rows in tables.items()}

    def _append(self, name: str, staged: Staged) -> None:
        self._table(name).append(staged)
        if staged.count:
            self.appended[name] += staged.count

    def _table(self, name: str) -> Table:
        if name not in self._tables:
            self._tables[name] = create_table(self._lake, name, SCHEMAS[name], partition_by=["observed_on"])
        return self._tables[name]


def new_payloads(entity: Entity, rejected: Table, rows: pa.Table) -> pa.Table:
    """Return the rows whose bytes were never refused as an object of this entity."""
    if not rows.num_rows:
        return rows
    is_equal = pc.field("payload_hash").isin(rows["payload_hash"].to_pylist())
    known = rejected.read(["payload_hash"], where=(pc.field("entity") == entity.name) & is_equal)
    return rows.filter(pc.invert(pc.is_in(rows["payload_hash"], known["payload_hash"])))


def submit(work: Callable[..., Result], *arguments: object) -> Future[Result]:
    """Start work in the staging thread and return its future.

    If Python is shutting down and starts no more threads, do the work before returning: rows
    that arrived are still written.
    """
    try:
        return STAGER.submit(work, *arguments)
    except RuntimeError:
        future: Future[Result] = Future()
        future.set_result(work(*arguments))
        return future
