"""Deduplication by content hash: which observations carry a state that a bronze table does not hold.

An id's newest state may be a refusal, which is a row of ``bronze.rejected``. If an object is seen as it
was before it was refused, that is a new state: its row shows that the refusal is over.

Other runs append to the same table. So before each answer the deduplicator reads the files
that were added, and an append is pinned to the version it answered for. If two runs see the
same change concurrently, one of them writes it.
"""

from collections.abc import Collection, Mapping, Sequence, Set
from datetime import datetime
from typing import Any

import pyarrow as pa

from ingest.observations import TOMBSTONE, Observation
from lake.delta.damage import refuse_damage
from lake.delta.table import Table
from lake.delta.tables import open_table
from lake.delta.writer import Staged
from lake.errors import CommitConflict
from lake.ledgers.findings import read_damage
from lake.paths import Lake
from lake.query.quote import literals
from lake.query.quote import name as quoted
from lake.query.session import Connection, scan
from lake.query.sql_file import read_sql

# Attempts to commit an append while other processes commit to the table.
TRIES = 50
# 33 bytes an observation and no index: a million orders take 33 MB. The chance that two states of one id
# share a 64-bit digest is 1 in 10^19.
CREATE = """
create or replace table {table} (
    id bigint, digest ubigint, fetched_at timestamptz, created_at timestamptz, is_refused boolean
)
"""
INSERT = """
insert into {table}
select id, hash(payload_hash), fetched_at, {created_at}, {is_refused}
from {files}
where {is_counted}
"""


class Deduplicator:
    """The observations of one bronze table in DuckDB, kept up to date for one run.

    Each has its id, the digest of its hash, ``fetched_at`` and ``created_at``. Observations of
    ``excluded_runs`` do not count: builds leave them out, so if the CRM still shows their
    content, it has to be appended again.
    """

    def __init__(
        self, lake: Lake, connection: Connection, table: str, *, excluded_runs: Collection[str] = ()
    ) -> None:
        self._duckdb = connection
        self._name = table
        self._observed = quoted(f"observed of {table}")
        self._is_counted = f"run_id not in ({literals(excluded_runs)})" if excluded_runs else "true"
        self._files: set[str] = set()
        self._refusal_files: set[str] = set()
        # An id above the greatest is new without a query. In a first load nearly all are.
        self._greatest = -(2**63)
        self.table: Table = open_table(lake, table)
        # What is in a damaged file does not count, so that it is appended again.
        self._damaged = {f"{lake.place}/{path}" for path in read_damage(lake)}
        connection.execute(CREATE.format(table=self._observed))

    def read_refusals(self, rejected: Table) -> None:
        """Read the refusals that were added to ``bronze.rejected``, up to its open version."""
        uris = rejected.uris() - self._damaged
        if self._refusal_files - uris:  # compaction replaced files
            self._duckdb.execute(f"delete from {self._observed} where is_refused")
            self._refusal_files.clear()
        if added := uris - self._refusal_files:
            entity = literals([self._name.removeprefix("bronze.")])
            self._insert(rejected, added, is_refused=True, condition=f"id is not null and entity = {entity}")
            self._refusal_files |= uris

    def new_states(self, rows: Sequence[Observation]) -> list[Observation]:
        """Return the rows whose content differs from the newest state of their id and that are later.

        If the newest state is a refusal, a later row is returned even if its content is the same: it may
        be accepted now.
        """
        self._refresh()
        if all(row.id is None or row.id > self._greatest for row in rows):
            return list(rows)
        incoming = pa.table(
            {
                "position": pa.array(range(len(rows)), pa.int64()),
                "id": pa.array([row.id for row in rows], pa.int64()),
                "hash": pa.array([row.hash for row in rows], pa.string()),
                "fetched_at": pa.array([row.fetched_at for row in rows], pa.timestamp("us", "UTC")),
            }
        )
        return [rows[position] for position in self._new_positions(incoming)]

    def new_refusals(self, rejected: pa.Table) -> pa.Table:
        """Return the rows of ``bronze.rejected`` that are the newest state of their id, and not known."""
        self._refresh()
        rows = self._query(read_sql("ingest", "new_refusals"), incoming=incoming_of(rejected))
        return rejected.take(pa.array([row[0] for row in rows], pa.int64()))

    def refused_ids(self) -> set[int]:
        """Return the ids whose newest state is a refusal."""
        if not self._refusal_files:
            return set()
        self._refresh()
        return {row[0] for row in self._query(read_sql("ingest", "refused_ids"))}

    def odd_fields(self, table: Table) -> list[tuple[str, bool, int, int]]:
        """Return the odd fields of the newest states, given ``bronze.odd_fields``.

        Each has its name, whether its values are read, the number of ids that have it, and one of them.
        """
        if not table.uris():
            return []
        self._refresh()
        self._duckdb.execute(f"create or replace temp view odd_fields as {scan(self._duckdb, table)}")
        entity = self._name.removeprefix("bronze.")
        return [tuple(row) for row in self._query(read_sql("ingest", "odd_fields"), {"entity": entity})]

    def known_ids(self, ids: Set[int]) -> set[int]:
        """Return those of the ids that the table has an observation of."""
        self._refresh()
        query = "select distinct id from observed semi join requested using (id)"
        return {row[0] for row in self._query(query, requested=ids_table(ids))}

    def live_count(self, up_to: int | None = None) -> int:
        """Return how many ids of the table are not deleted, up to an id if one is given."""
        self._refresh()
        ((count,),) = self._query(read_sql("ingest", "live_count"), {"up_to": up_to, "tombstone": TOMBSTONE})
        return int(count)

    def absent_ids(self, since: datetime | None, until: datetime | None, *, listed: Set[int]) -> list[int]:
        """Return the ids created in the span, not deleted, that are not in ``listed``."""
        self._refresh()
        values = {"since": since, "until": until, "tombstone": TOMBSTONE}
        return [
            row[0] for row in self._query(read_sql("ingest", "absent_ids"), values, listed=ids_table(listed))
        ]

    def id_gaps(self, since: datetime, *, first_id: int | None, longest: int) -> list[tuple[int, int]]:
        """Return the spans of ids that were never observed, newest first; a refused id was observed.

        A span of more than ``longest`` ids is no gap: an id far above the others follows it.

        Both ends of a span belong to it. The spans lie between ids created from ``since`` on,
        or from ``first_id`` on if it is given.
        """
        self._refresh()
        values = {"since": since, "first_id": first_id, "longest": longest, "tombstone": TOMBSTONE}
        gaps = self._query(read_sql("ingest", "id_gaps"), values)
        return [(first, last) for first, last in gaps]

    def append(self, rows: pa.Table) -> int:
        """Append the rows that are new states when the commit is made; return their number.

        ``rows`` has id, payload_hash, fetched_at and the table's other columns.
        """
        return self.append_staged(rows, self.table.stage(rows))

    def append_staged(self, rows: pa.Table, staged: Staged) -> int:
        """Append rows that are in staged files already, under the conditions of ``append``."""
        for _ in range(TRIES):
            if not staged.files:
                return 0
            try:
                self.table.append_pinned(staged)
                return int(rows.num_rows)
            except CommitConflict:
                self._refresh()
                positions = self._new_positions(incoming_of(rows))
                if len(positions) < rows.num_rows:
                    rows = rows.take(positions)
                    staged = self.table.stage(rows)
        raise CommitConflict(
            f"{self._name}: other processes committed first {TRIES} times; nothing was written,"
            " run the ingest again"
        )

    def _new_positions(self, incoming: pa.Table) -> pa.Array:
        """Return the positions of the incoming observations that are new states."""
        rows = self._query(read_sql("ingest", "new_states"), incoming=incoming)
        return pa.array([row[0] for row in rows], pa.int64())

    def _query(
        self, query: str, values: Mapping[str, object] | None = None, **relations: pa.Table
    ) -> list[Any]:
        """Return the rows of a query over ``observed`` and the given relations."""
        self._duckdb.execute(f"create or replace temp view observed as from {self._observed}")
        for name, rows in relations.items():
            self._duckdb.register(name, rows)
        try:
            return self._duckdb.execute(query, values or []).fetchall()
        finally:
            for name in relations:
                self._duckdb.unregister(name)

    def _refresh(self) -> None:
        """Read the files that were added to the table, by any process."""
        self.table.refresh()
        uris = self.table.uris() - self._damaged
        if self._files - uris:  # compaction replaced files: the same rows are in others
            self._duckdb.execute(f"delete from {self._observed} where not is_refused")
            self._files.clear()
        if added := uris - self._files:
            self._insert(self.table, added, is_refused=False)
            self._files |= uris

    def _insert(self, table: Table, files: Set[str], *, is_refused: bool, condition: str = "true") -> None:
        """Insert the rows of a table's files into the observed ones. Raises TableDamaged.

        The files are checked first, once in a process. With a damaged ``fetched_at`` in the future, no later
        state of its object would ever be new.
        """
        refuse_damage(table.name, files)
        insert = INSERT.format(
            table=self._observed,
            files=f"({scan(self._duckdb, table, sorted(files))})",
            created_at="created_at" if "created_at" in table.schema.names else "null",
            is_refused=is_refused,
            is_counted=f"{self._is_counted} and {condition}",
        )
        self._duckdb.execute(insert)
        ((greatest,),) = self._duckdb.execute(f"select max(id) from {self._observed}").fetchall()
        self._greatest = self._greatest if greatest is None else greatest


def ids_table(ids: Set[int]) -> pa.Table:
    """Return ids as a relation. Pure."""
    return pa.table({"id": pa.array(ids, pa.int64())})


def incoming_of(rows: pa.Table) -> pa.Table:
    """Return bronze rows as the relation ``incoming``. Pure."""
    positions = pa.array(range(rows.num_rows), pa.int64())
    return pa.table(
        {
            "position": positions,
            "id": rows["id"],
            "hash": rows["payload_hash"],
            "fetched_at": rows["fetched_at"],
        }
    )
