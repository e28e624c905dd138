"""Gate: which looks are news. What one bronze table holds as newest of every id, kept at its head.

Other runs append to the same table, so before each answer the gate reads the files it
has not seen, and an append is made on the version it answered for: two runs that see
the same change at once write it once.
"""

from collections.abc import Sequence, Set

import pyarrow as pa

from ingest.bronze import GONE, Seen
from lake.errors import CommitConflict
from lake.paths import Lake
from lake.quote import name as quoted
from lake.session import Connection, scan
from lake.table import Table, open_table

TRIES = 50
# 24 bytes a look: a shop's million orders take as many megabytes, and no index of them.
# Two states of one id with one 64-bit digest of their hashes would be a chance in 10^19.
HELD = "create or replace table {gate} (id bigint, digest ubigint, fetched_at timestamptz)"
ADD = "insert into {gate} select id, hash(payload_hash), fetched_at from {files}"
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


class Gate:
    """Every look that one bronze table holds: id, digest of its hash, fetched_at; in DuckDB for one run."""

    def __init__(self, lake: Lake, connection: Connection, table: str) -> None:
        self._lake = lake
        self._duckdb = connection
        self._name = table
        self._gate = quoted(f"gate of {table}")
        self._files: set[str] = set()
        self.table: Table = open_table(lake, table)
        connection.execute(HELD.format(gate=self._gate))

    def news(self, rows: Sequence[Seen]) -> list[Seen]:
        """Return the rows whose content is not what the lake holds as newest, nor older than that."""
        self._refresh()
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
        self._duckdb.register("asked", pa.table({"id": pa.array(ids, pa.int64())}))
        found = self._duckdb.execute(
            f"select distinct id from {self._gate} semi join asked using (id)"
        ).fetchall()
        self._duckdb.unregister("asked")
        return {one for (one,) in found}

    def alive(self, up_to: int | None = None) -> int:
        """Return how many ids (``up_to`` one, if said) the table holds that are not known to be gone."""
        self._refresh()
        query = ALIVE.format(gate=self._gate)
        ((count,),) = self._duckdb.execute(query, [up_to, GONE]).fetchall()
        return int(count)

    def append(self, rows: pa.Table) -> int:
        """Append the rows that are news at the very moment of the commit; return how many they were.

        ``rows`` are observations: id, payload_hash, fetched_at and whatever the table has besides.
        """
        for _ in range(TRIES):
            if not rows.num_rows:
                return 0
            try:
                self.table.append_pinned(rows)
                return int(rows.num_rows)
            except CommitConflict:
                self._refresh()
                rows = rows.take(self._places(looks(rows)))
        raise CommitConflict(f"{self._name}: others commit without pause; nothing was written, run it again")

    def _places(self, seen: pa.Table) -> list[int]:
        """Return the places of the looks that are news."""
        self._duckdb.register("seen", seen)
        places = self._duckdb.execute(NEWS.format(gate=self._gate)).fetchall()
        self._duckdb.unregister("seen")
        return [place for (place,) in places]

    def _refresh(self) -> None:
        """Read what was appended since, by whomever."""
        self.table = open_table(self._lake, self._name)
        files = {file.uri for file in self.table.files()}
        if self._files - files:  # a compaction wrote the same rows anew
            self._duckdb.execute(HELD.format(gate=self._gate))
            self._files.clear()
        if new := sorted(files - self._files):
            source = f"({scan(self._duckdb, self.table, new)})"
            self._duckdb.execute(ADD.format(gate=self._gate, files=source))
            self._files |= files


def looks(rows: pa.Table) -> pa.Table:
    """Return observations as looks with their places. Pure."""
    places = pa.array(range(rows.num_rows), pa.int64())
    return pa.table(
        {"place": places, "id": rows["id"], "hash": rows["payload_hash"], "fetched_at": rows["fetched_at"]}
    )
