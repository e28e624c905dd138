"""Staging: what a build will commit, put in order and into files while the rest is built and checked.

No version names these files. Those of a build that ends before it commits are deleted; what is
left by one that was killed, or that others were faster than, a vacuum finds. As rows are put in
the order of their key anyway, where two that share one lie side by side, it also tells whether
the key names each.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from types import TracebackType
from typing import Self

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from lake.delta.contract import differs, narrow
from lake.delta.table import Table, create_table, open_table, table_exists
from lake.delta.writer import Staged, discard, stage
from lake.paths import Lake
from lake.query.session import Connection, fetch
from transform.candidate import Candidate
from transform.next_release import Candidates

log = structlog.get_logger()
# Tables that are put in order and written at once; each is in memory while it is.
WRITERS = 2


class Ready(msgspec.Struct, frozen=True):
    """A candidate's rows as they will be committed: in files; in memory where its table has to change first.

    ``is_unique`` where all of them are here, and their order shows that the key names each.
    """

    candidate: Candidate
    rows: Staged | pa.Table
    is_unique: bool


class Staging:
    """The candidates of one build that differ from the release, on their way to be committed.

    ``tables`` are those of the lake that it writes or need not write, each at the version read or written.
    """

    def __init__(self, lake: Lake, held: Mapping[str, Table]) -> None:
        self._lake = lake
        self._pool = ThreadPoolExecutor(WRITERS, thread_name_prefix="stage")
        self._ready: dict[str, Future[Ready]] = {}
        self._is_offered = False
        self.tables = dict(held)

    def __enter__(self) -> Self:
        """Return it; what was not offered to a commit by the end is deleted."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what is under way, and delete it where it will not be committed."""
        self._pool.shutdown(cancel_futures=True)
        if self._is_offered:
            return
        for name, ready in self._ready.items():
            is_there = not ready.cancelled() and not ready.exception()
            if is_there and isinstance(written := ready.result().rows, Staged):
                with suppress(OSError):  # why the build ends is to be heard; a vacuum finds them
                    discard(self._lake.uri(name), written)

    def add(self, candidates: Candidates, name: str) -> None:
        """Begin to write a table that is built, once, where it differs from the release."""
        candidate = candidates.built[name]
        if candidate.differs and name not in self._ready:
            rows = candidates.to_write(candidate)
            connection = candidates.space.duckdb.cursor()
            self._ready[name] = self._pool.submit(self._prepare, candidate, rows, connection)

    def is_unique(self, name: str) -> bool:
        """True where a table is written whole and its key is seen to name each row; False: it is not known.

        Waits until it is written. Why that may have failed is for checks to say, and then for the commit.
        """
        ready = self._ready.get(name)
        return ready is not None and not ready.exception() and ready.result().is_unique

    def commit(self, candidates: Candidates) -> dict[str, int]:
        """Commit what differs, table by table; return the new versions. Raises CommitConflict.

        From here on nothing is deleted, also of tables that were refused: an answer that was lost may have
        been a yes.
        """
        for name in candidates.built:
            self.add(candidates, name)
        ready = {name: one.result() for name, one in self._ready.items()}
        self._is_offered = True
        committing: dict[str, Future[int]] = {}
        try:
            for name, one in ready.items():
                committing[name] = self._pool.submit(self._commit, one)
            wait(committing.values())
        finally:  # Ctrl-C waits for what is under way: the builders' lock is held for it
            wait(committing.values())
        return {name: version.result() for name, version in committing.items()}

    def _prepare(self, candidate: Candidate, query: str, connection: Connection) -> Ready:
        with connection:
            rows = fetch(connection, query)
        name, schema, parted = candidate.name, candidate.contract.schema, partition(candidate)
        is_unique = candidate.parts is None and names_each(rows, candidate.contract.key, candidate.apart)
        # Also one that the release does not name: of a model that was gone, or of a build that was killed.
        if name not in self.tables and table_exists(self._lake, name):
            self.tables[name] = open_table(self._lake, name)
        table = self.tables.get(name)
        if table and differs(table.schema, schema):
            return Ready(candidate, rows.cast(schema), is_unique)
        rows = rows.cast(narrow(schema))
        if table:
            return Ready(candidate, table.stage(rows.select(table.schema.names)), is_unique)
        return Ready(candidate, stage(name, self._lake.uri(name), rows, partition_by=parted), is_unique)

    def _commit(self, ready: Ready) -> int:
        candidate, name = ready.candidate, ready.candidate.name
        if name not in self.tables:
            schema, parted = candidate.contract.schema, partition(candidate)
            self.tables[name] = create_table(self._lake, name, schema, partition_by=parted)
        if isinstance(ready.rows, Staged):
            at = self.tables[name].replace(ready.rows, candidate.parts)
        else:
            at = self.tables[name].redefine(ready.rows, partition_by=partition(candidate))
        log.debug("transform.committed", table=name, version=at)
        return at


def partition(candidate: Candidate) -> list[str]:
    """Return the columns whose values are folders. Pure."""
    return [candidate.part] if candidate.part else []


def names_each(rows: pa.Table, key: Sequence[str], apart: str | None) -> bool:
    """True where the order of rows shows that no two share a key; False where it can't be told. Pure.

    They are in order of ``apart``, if any, then of the key: a key may come again where ``apart`` is another.
    """
    kinds = [rows.schema.field(name).type for name in key]
    # To Arrow no NaN is like another, and lists are not compared.
    if not key or any(pa.types.is_floating(kind) or pa.types.is_nested(kind) for kind in kinds):
        return False
    if pc.any(repeats(rows, key)).as_py():
        return False
    first = rows[key[0]]
    if apart is None or not rows.num_rows:
        return True
    if first.null_count or not pa.types.is_integer(first.type):
        return False
    begins = pc.invert(repeats(rows, [apart, key[0]]))
    return is_distinct(pa.chunked_array([*first.slice(0, 1).chunks, *first.slice(1).filter(begins).chunks]))


def is_distinct(ids: pa.ChunkedArray) -> bool:
    """True where no id comes twice; quick where most are greater than all before them. Pure."""
    late = pc.less_equal(ids.slice(1), pc.cumulative_max(ids).slice(0, len(ids) - 1))
    found = ids.slice(1).filter(late).combine_chunks()
    return bool(len(found) == pc.count_distinct(found).as_py() == (pc.sum(pc.is_in(ids, found)).as_py() or 0))


def repeats(rows: pa.Table, columns: Sequence[str]) -> pa.ChunkedArray:
    """Return, for each row but the first, whether it has the values of the one before it. Pure."""
    found: pa.ChunkedArray | None = None
    for name in columns:
        before, after = rows[name].slice(0, max(rows.num_rows - 1, 0)), rows[name].slice(1)
        same = pc.equal(before, after)
        if rows[name].null_count:
            neither = pc.and_(pc.is_null(before), pc.is_null(after))
            same = pc.or_(pc.fill_null(same, False), neither)
        found = same if found is None else pc.and_(found, same)
    return found
