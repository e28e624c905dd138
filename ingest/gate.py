"""Gate: which looks are news. What one bronze table holds as newest of every id, kept at its head.

Other runs append to the same table, so before each answer the gate reads the files it
has not seen, and an append is made on the version it answered for: two runs that see
the same change at once write it once.
"""

from collections.abc import Sequence

import pyarrow as pa

from ingest.bronze import Seen
from lake.errors import CommitConflict
from lake.paths import Lake
from lake.quote import name as quoted
from lake.session import Connection, scan
from lake.table import Table, open_table

TRIES = 50
UPSERT = """
insert or replace into {gate}
select id, arg_max(payload_hash, fetched_at), max(fetched_at)
from {files} as f
where not exists (from {gate} as g where g.id = f.id and g.fetched_at >= f.fetched_at)
group by id
"""
NEWS = """
select s.place
from seen as s left join {gate} as g on g.id = s.id
where
    g.id is null
    or (g.hash <> s.hash and g.fetched_at < s.fetched_at)
order by s.place
"""


class Gate:
    """The newest (id, hash, fetched_at) of one bronze table, held in DuckDB for one run."""

    def __init__(self, lake: Lake, connection: Connection, table: str) -> None:
        self._lake = lake
        self._duckdb = connection
        self._name = table
        self._gate = quoted(f"gate of {table}")
        self._files: set[str] = set()
        self.table: Table = open_table(lake, table)
        connection.execute(
            f"create table {self._gate} (id bigint primary key, hash varchar, fetched_at timestamptz)"
        )

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

    def has(self, found: int) -> bool:
        """True where the table holds any observation of the id."""
        self._refresh()
        query = f"select count(*) from {self._gate} where id = ?"
        ((count,),) = self._duckdb.execute(query, [found]).fetchall()
        return bool(count)

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
        if new := sorted(files - self._files):
            source = f"({scan(self._duckdb, self.table, new)})"
            self._duckdb.execute(UPSERT.format(gate=self._gate, files=source))
            self._files |= files


def looks(rows: pa.Table) -> pa.Table:
    """Return observations as looks with their places. Pure."""
    places = pa.array(range(rows.num_rows), pa.int64())
    return pa.table(
        {"place": places, "id": rows["id"], "hash": rows["payload_hash"], "fetched_at": rows["fetched_at"]}
    )
