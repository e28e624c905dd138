"""Writer: append new states to bronze, the parts of an order before the order itself.

The order's row is the commit record of its lines and expenses, and is appended last. If a
crash comes between the commits, no reader counts the lines without their order, and the next
observation appends all of them again.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from ingest.completeness import EvidenceWriter
from ingest.deduplication import Deduplicator
from ingest.entities import ORDERS, Entity
from ingest.observations import Observation, tombstone_rows, type_rows
from ingest.schemas import SCHEMAS
from ingest.windows import Window
from lake.delta.table import Table, create_table, open_table
from lake.delta.writer import Staged
from lake.paths import Lake
from lake.query.session import Connection

Result = TypeVar("Result")
REJECTED = "bronze.rejected"
# One thread that stages lines and expenses while the caller stages the orders.
STAGER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stage")
# Delta's statistics truncate instants to this.
MILLISECOND = timedelta(milliseconds=1)


class Writer:
    """The open bronze tables of one run, each with its deduplicator.

    ``appended`` counts rows per table. If ``evidence`` is given, it gets every order that arrives.
    """

    def __init__(
        self,
        lake: Lake,
        connection: Connection,
        *,
        run_id: str,
        evidence: EvidenceWriter | None = None,
        excluded_runs: Collection[str] = (),
    ) -> None:
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
        new = deduplicator.new_states(list(latest.values()))
        typed = type_rows(entity, new, run_id=self._run_id)
        # Files are staged concurrently, and committed one table after the other.
        parts = submit(
            self._stage, {name: typed.tables[name] for name in typed.tables if name != entity.table}
        )
        try:
            staged = deduplicator.table.stage(typed.tables[entity.table])
        finally:
            wait([parts])
        for name, part in parts.result().items():
            self._append(name, part)
        self.appended[entity.table] += deduplicator.append_staged(typed.tables[entity.table], staged)
        self._reject(typed.rejected)

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
        The CRM's ids are dense, so each gap has a cause. A rejected order is no gap.
        """
        gaps = self._deduplicator(ORDERS).id_gaps(
            since, first_id=first_id, explained=self._rejected_ids(ORDERS)
        )
        ids = islice((number for first, last in gaps for number in range(last, first - 1, -1)), limit)
        return list(ids), sum(last - first + 1 for first, last in gaps)

    def write_tombstones(self, entity: Entity, rows: Sequence[Observation]) -> None:
        """Append tombstones of ids that the CRM no longer has, if they are not known as deleted."""
        deduplicator = self._deduplicator(entity)
        tombstones = tombstone_rows(entity, deduplicator.new_states(rows), run_id=self._run_id)
        self.appended[entity.table] += deduplicator.append(tombstones)

    def known_rows(self, entity: Entity, rows: Sequence[Observation]) -> list[Observation]:
        """Return the rows whose ids the lake has an observation of."""
        known = self._deduplicator(entity).known_ids({row.id for row in rows if row.id is not None})
        return [row for row in rows if row.id in known]

    def live_count(self, entity: Entity, *, up_to: int | None = None) -> int:
        """Return how many ids are not deleted, rejected ones too; up to an id if one is given."""
        rejected = self._rejected_ids(entity)
        if up_to is not None:
            rejected = {number for number in rejected if number <= up_to}
        deduplicator = self._deduplicator(entity)
        return deduplicator.live_count(up_to) + len(rejected - deduplicator.known_ids(rejected))

    def rejected_only_ids(self, entity: Entity) -> list[int]:
        """Return the ids that the lake knows only from rejections, none of them in this run."""
        rejected = self._rejected_ids(entity)
        now = {number for name, number in self._rejected_now if name == entity.name}
        return sorted(rejected - now - self._deduplicator(entity).known_ids(rejected))

    def _rejected_ids(self, entity: Entity) -> set[int]:
        """Return the ids of the objects that were ever rejected."""
        rows = open_table(self._lake, REJECTED).read(["id"], where=pc.field("entity") == entity.name)
        return set(rows["id"].drop_null().to_pylist())

    def _deduplicator(self, entity: Entity) -> Deduplicator:
        """Return the entity's deduplicator, opened when it is first used."""
        if entity.table not in self._deduplicators:
            self._deduplicators[entity.table] = Deduplicator(
                self._lake, self._duckdb, entity.table, excluded_runs=self._excluded_runs
            )
        return self._deduplicators[entity.table]

    def _reject(self, rows: pa.Table) -> None:
        """Append rejected payloads, unless the same bytes were rejected before."""
        if not rows.num_rows:
            return
        (entity,) = set(rows["entity"].to_pylist())
        self._rejected.update((entity, digest) for digest in rows["payload_hash"].to_pylist())
        self._rejected_now.update((entity, number) for number in rows["id"].drop_null().to_pylist())
        # Opened again: in a long load, compaction and vacuum may have deleted the files of an older version.
        known = open_table(self._lake, REJECTED).read(
            ["payload_hash"],
            where=(pc.field("entity") == entity)
            & pc.field("payload_hash").isin(rows["payload_hash"].to_pylist()),
        )
        new = rows.filter(pc.invert(pc.is_in(rows["payload_hash"], known["payload_hash"])))
        self._append(REJECTED, self._table(REJECTED).stage(new))

    def _stage(self, tables: Mapping[str, pa.Table]) -> dict[str, Staged]:
        return {name: self._table(name).stage(rows) for name, rows in tables.items()}

    def _append(self, name: str, staged: Staged) -> None:
        self._table(name).append(staged)
        self.appended[name] += staged.count

    def _table(self, name: str) -> Table:
        if name not in self._tables:
            self._tables[name] = create_table(self._lake, name, SCHEMAS[name], partition_by=["observed_on"])
        return self._tables[name]


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
