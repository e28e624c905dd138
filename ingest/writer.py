"""Observations into bronze: only what is news, an order's parts before the order.

The order's row is the commit record of its lines and expenses: it is appended last,
so a crash between the commits leaves lines that nobody counts, and the next look
appends all of them again.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from ingest.completeness import Witness
from ingest.deduplication import Gate
from ingest.entities import ORDERS, Entity
from ingest.observations import Seen, tombstones, type_rows
from ingest.schemas import SCHEMAS
from ingest.windows import Window
from lake.delta.table import Table, create_table, open_table
from lake.delta.writer import Staged
from lake.paths import Lake
from lake.query.session import Connection

Result = TypeVar("Result")
REJECTED = "bronze.rejected"
# One thread for what orders consist of, beside the one that makes files of the orders themselves.
STAGER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stage")
# Delta's statistics cut instants to the millisecond.
MILLISECOND = timedelta(milliseconds=1)


class Writer:
    """The bronze tables held open for one run, with the newest hash of every id looked at.

    ``appended`` counts rows per table. A ``witness`` gets every order that is looked at.
    """

    def __init__(
        self,
        lake: Lake,
        connection: Connection,
        *,
        run_id: str,
        witness: Witness | None = None,
        left_out: Collection[str] = (),
    ) -> None:
        self._left_out = left_out
        self._lake = lake
        self._duckdb = connection
        self._run_id = run_id
        self._witness = witness
        self._tables: dict[str, Table] = {}
        self._gates: dict[str, Gate] = {}
        self._refused: set[tuple[str, str]] = set()
        self._shown_refused: set[tuple[str, int]] = set()
        self.appended: Counter[str] = Counter()

    def make_tables(self) -> None:
        """Make every bronze table that is not there yet, so that all of them can be read."""
        for name in SCHEMAS:
            self._table(name)

    @property
    def rejected(self) -> int:
        """How many objects were refused in this run; one that came twice is one."""
        return len(self._refused)

    @property
    def newest(self) -> datetime | None:
        """When the latest look that the lake holds was taken; up to a millisecond later."""
        stamps = [self._table(name).maximum("fetched_at") for name in SCHEMAS]
        known = [stamp for stamp in stamps if isinstance(stamp, datetime)]
        return max(known) + MILLISECOND if known else None

    def write(self, entity: Entity, rows: Sequence[Seen]) -> None:
        """Append what is news among the rows; of several looks at one id the last one counts."""
        if self._witness and entity is ORDERS:
            self._witness.take(rows)
        ordered = sorted(rows, key=lambda row: row.fetched_at)
        latest = {row.id if row.id is not None else row.hash: row for row in ordered}
        gate = self._gate(entity)
        typed = type_rows(entity, gate.news(list(latest.values())), run_id=self._run_id)
        # Files are made beside one another, and committed one table after the other.
        parts = begun(
            self._stage, {name: typed.tables[name] for name in typed.tables if name != entity.table}
        )
        try:
            whole = gate.table.stage(typed.tables[entity.table])
        finally:
            wait([parts])
        for name, part in parts.result().items():
            self._append(name, part)
        self.appended[entity.table] += gate.append_staged(typed.tables[entity.table], whole)
        self._reject(typed.rejected)

    def not_shown(self, window: Window, *, shown: Set[int]) -> list[int]:
        """Return the orders held as created in the window, not gone, that are not in ``shown``."""
        return self._gate(ORDERS).absent(window.since, window.until, shown=shown)

    def holes(self, since: datetime, *, first_id: int | None, limit: int) -> tuple[list[int], int]:
        """Return ids that nobody ever saw nor asked for, newest first, and how many there are in all.

        They lie between orders created from ``since`` on, or from ``first_id`` on where that is
        said: ids are dense, so each has a reason. An order that was refused is none.
        """
        gaps = self._gate(ORDERS).gaps(since, first_id=first_id, explained=self._refused_ids(ORDERS))
        ids = islice((found for first, last in gaps for found in range(last, first - 1, -1)), limit)
        return list(ids), sum(last - first + 1 for first, last in gaps)

    def bury(self, entity: Entity, rows: Sequence[Seen]) -> None:
        """Append tombstones of the ids that the CRM has no longer and that are not known to be gone."""
        gate = self._gate(entity)
        self.appended[entity.table] += gate.append(tombstones(entity, gate.news(rows), run_id=self._run_id))

    def held(self, entity: Entity, rows: Sequence[Seen]) -> list[Seen]:
        """Return the rows whose ids the lake has ever seen."""
        known = self._gate(entity).known({row.id for row in rows if row.id is not None})
        return [row for row in rows if row.id in known]

    def alive(self, entity: Entity, *, up_to: int | None = None) -> int:
        """Return how many ids (``up_to`` one) the lake knows and has not found gone, refused ones too."""
        refused = self._refused_ids(entity)
        if up_to is not None:
            refused = {found for found in refused if found <= up_to}
        gate = self._gate(entity)
        return gate.alive(up_to) + len(refused - gate.known(refused))

    def refused_only(self, entity: Entity) -> list[int]:
        """Return the ids of which the lake has nothing but a refusal, and not of this run."""
        found = self._refused_ids(entity)
        shown = {number for name, number in self._shown_refused if name == entity.name}
        return sorted(found - shown - self._gate(entity).known(found))

    def _refused_ids(self, entity: Entity) -> set[int]:
        """Return the ids of the objects that were ever refused."""
        rows = open_table(self._lake, REJECTED).read(["id"], where=pc.field("entity") == entity.name)
        return set(rows["id"].drop_null().to_pylist())

    def _gate(self, entity: Entity) -> Gate:
        """Return the entity's gate, opened at its first use."""
        if entity.table not in self._gates:
            self._gates[entity.table] = Gate(self._lake, self._duckdb, entity.table, left_out=self._left_out)
        return self._gates[entity.table]

    def _reject(self, rows: pa.Table) -> None:
        """Append refused payloads that were not refused before, word for word."""
        if not rows.num_rows:
            return
        (entity,) = set(rows["entity"].to_pylist())
        self._refused.update((entity, found) for found in rows["payload_hash"].to_pylist())
        self._shown_refused.update((entity, found) for found in rows["id"].drop_null().to_pylist())
        # Opened anew: a long load held one whose files were merged, and deleted, meanwhile.
        known = open_table(self._lake, REJECTED).read(
            ["payload_hash"],
            where=(pc.field("entity") == entity)
            & pc.field("payload_hash").isin(rows["payload_hash"].to_pylist()),
        )
        news = rows.filter(pc.invert(pc.is_in(rows["payload_hash"], known["payload_hash"])))
        self._append(REJECTED, self._table(REJECTED).stage(news))

    def _stage(self, tables: Mapping[str, pa.Table]) -> dict[str, Staged]:
        return {name: self._table(name).stage(rows) for name, rows in tables.items()}

    def _append(self, name: str, staged: Staged) -> None:
        self._table(name).append(staged)
        self.appended[name] += staged.count

    def _table(self, name: str) -> Table:
        if name not in self._tables:
            self._tables[name] = create_table(self._lake, name, SCHEMAS[name], partition_by=["observed_on"])
        return self._tables[name]


def begun(work: Callable[..., Result], *arguments: object) -> Future[Result]:
    """Begin work beside the caller's, and return its future.

    Where Python is ending and begins nothing more it is done by now: what arrived is to be kept.
    """
    try:
        return STAGER.submit(work, *arguments)
    except RuntimeError:
        done: Future[Result] = Future()
        done.set_result(work(*arguments))
        return done
