"""Gate: which looks are news. Every look that one bronze table holds, kept at its head.

Other runs append to the same table, so before each answer the gate reads the files it
has not seen, and an append is made on the version it answered for: two runs that see
the same change at once write it once.
"""

from collections.abc import Collection, Sequence, Set
from datetime import datetime
from typing import Any

import pyarrow as pa

from ingest.observations import GONE, Seen
from lake.delta.table import Table, open_table
from lake.delta.writer import Staged
from lake.errors import CommitConflict
from lake.paths import Lake
from lake.query.quote import literals
from lake.query.quote import name as quoted
from lake.query.session import Connection, scan

TRIES = 50
# 32 bytes a look: a shop's million orders take as many megabytes, and no index of them.
# Two states of one id with one 64-bit digest of their hashes would be a chance in 10^19.
HELD = """
create or replace table {gate} (id bigint, digest ubigint, fetched_at timestamptz, created_at timestamptz)
"""
ADD = "insert into {gate} select id, hash(payload_hash), fetched_at, {created_at} from {files} where {counts}"
NEWS = """
with newest as (
    select id, arg_max(digest, fetched_at) as digest, max(fetched_at) as fetched_at
    from {gate} semi join seen using (id)
    group by id
)

select s.place
from seen as s left join newest as n on n.id = s.id
where
    n.id is null
    or (n.digest <> hash(s.hash) and n.fetched_at < s.fetched_at)
order by s.place
"""
ALIVE = """
select count(*)
from (
    select arg_max(digest, fetched_at) as digest
    from {gate}
    where id <= $1 or $1 is null
    group by id
)
where digest <> hash($2)
"""
# ``created_at`` of a tombstone is missing: what is gone already is not asked for again.
ABSENT = """
with candidates as (
    select distinct id
    from {gate} anti join shown using (id)
    where created_at between $1 and $2
),

newest as (
    select id, arg_max(digest, fetched_at) as digest, arg_max(created_at, fetched_at) as created_at
    from {gate} semi join candidates using (id)
    group by id
)

select id
from newest
where digest <> hash($3) and created_at between $1 and $2
order by id
"""
GAPS = """
with known as (
    select id, lag(id) over (order by id) as before
    from (
        select id from {gate}
        union
        select id from asked
        union
        select $2::bigint - 1 where $2 is not null
    )
)

select before + 1, id - 1
from known
where
    id > before + 1
    -- Above the newest order there is are ids that somebody once mistyped.
    and id <= (select max(id) from {gate} where digest <> hash($3))
    and (id > (select min(id) from {gate} where created_at >= $1) or $2 is not null)
order by id desc
"""


class Gate:
    """Id, digest of the hash, ``fetched_at`` and ``created_at`` of every look, in DuckDB for one run."""

    def __init__(
        self, lake: Lake, connection: Connection, table: str, *, left_out: Collection[str] = ()
    ) -> None:
        self._lake = lake
        self._duckdb = connection
        self._name = table
        self._gate = quoted(f"gate of {table}")
        # What builds leave out is not held: what the CRM still says has to be seen again.
        self._counts = f"run_id not in ({literals(left_out)})" if left_out else "true"
        self._files: set[str] = set()
        # An id above it was never seen, as most in a first load: there is nothing to ask of it.
        self._greatest = -(2**63)
        self.table: Table = open_table(lake, table)
        connection.execute(HELD.format(gate=self._gate))

    def news(self, rows: Sequence[Seen]) -> list[Seen]:
        """Return the rows whose content is not what the lake holds as newest, nor older than that."""
        self._refresh()
        if all(row.id is None or row.id > self._greatest for row in rows):
            return list(rows)
        seen = pa.table(
            {
                "place": pa.array(range(len(rows)), pa.int64()),
                "id": pa.array([row.id for row in rows], pa.int64()),
                "hash": pa.array([row.hash for row in rows], pa.string()),
                "fetched_at": pa.array([row.fetched_at for row in rows], pa.timestamp("us", "UTC")),
            }
        )
        return [rows[place] for place in self._places(seen)]

    def known(self, ids: Set[int]) -> set[int]:
        """Return those of the ids that the table holds any observation of."""
        self._refresh()
        query = "select distinct id from {gate} semi join asked using (id)"
        return {found for (found,) in self._with("asked", ids_table(ids), query)}

    def alive(self, up_to: int | None = None) -> int:
        """Return how many ids (``up_to`` one, if said) the table holds that are not known to be gone."""
        self._refresh()
        ((count,),) = self._duckdb.execute(ALIVE.format(gate=self._gate), [up_to, GONE]).fetchall()
        return int(count)

    def absent(self, since: datetime | None, until: datetime | None, *, shown: Set[int]) -> list[int]:
        """Return the ids held as created in the span, not gone, that are not in ``shown``."""
        self._refresh()
        return [found for (found,) in self._with("shown", ids_table(shown), ABSENT, since, until, GONE)]

    def gaps(self, since: datetime, *, first_id: int | None, explained: Set[int]) -> list[tuple[int, int]]:
        """Return the spans of ids, both ends included, that are neither held nor ``explained``; newest first.

        They lie between ids created from ``since`` on, or from ``first_id`` on where that is said.
        """
        self._refresh()
        gaps = self._with("asked", ids_table(explained), GAPS, since, first_id, GONE)
        return [(first, last) for first, last in gaps]

    def append(self, rows: pa.Table) -> int:
        """Append the rows that are news at the very moment of the commit; return how many they were.

        ``rows`` are observations: id, payload_hash, fetched_at and whatever the table has besides.
        """
        return self.append_staged(rows, self.table.stage(rows))

    def append_staged(self, rows: pa.Table, staged: Staged) -> int:
        """Append as ``append`` does rows that are in files already."""
        for _ in range(TRIES):
            if not staged.files:
                return 0
            try:
                self.table.append_pinned(staged)
                return int(rows.num_rows)
            except CommitConflict:
                self._refresh()
                places = self._places(looks(rows))
                if len(places) < rows.num_rows:
                    rows = rows.take(places)
                    staged = self.table.stage(rows)
        raise CommitConflict(f"{self._name}: others commit without pause; nothing was written, run it again")

    def _places(self, seen: pa.Table) -> pa.Array:
        """Return the places of the looks that are news."""
        return pa.array([place for (place,) in self._with("seen", seen, NEWS)], pa.int64())

    def _with(self, name: str, rows: pa.Table, query: str, *values: object) -> list[Any]:
        """Return what a query finds that reads the gate and some rows by a name."""
        self._duckdb.register(name, rows)
        try:
            return self._duckdb.execute(query.format(gate=self._gate), list(values)).fetchall()
        finally:
            self._duckdb.unregister(name)

    def _refresh(self) -> None:
        """Read what was appended since, by whomever."""
        self.table.refresh()
        files = self.table.uris()
        if self._files - files:  # a compaction wrote the same rows anew
            self._duckdb.execute(HELD.format(gate=self._gate))
            self._files.clear()
        if new := sorted(files - self._files):
            source = f"({scan(self._duckdb, self.table, new)})"
            created_at = "created_at" if "created_at" in self.table.schema.names else "null"
            self._duckdb.execute(
                ADD.format(gate=self._gate, files=source, created_at=created_at, counts=self._counts)
            )
            ((greatest,),) = self._duckdb.execute(f"select max(id) from {self._gate}").fetchall()
            self._greatest = self._greatest if greatest is None else greatest
            self._files |= files


def ids_table(ids: Set[int]) -> pa.Table:
    """Return ids as a relation. Pure."""
    return pa.table({"id": pa.array(ids, pa.int64())})


def looks(rows: pa.Table) -> pa.Table:
    """Return observations as looks with their places. Pure."""
    places = pa.array(range(rows.num_rows), pa.int64())
    return pa.table(
        {"place": places, "id": rows["id"], "hash": rows["payload_hash"], "fetched_at": rows["fetched_at"]}
    )
