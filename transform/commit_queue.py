"""Commit queue: candidates are sorted and written to files while others are built and checked.

No table version references these files yet. An aborted build deletes its files; vacuum
removes those of a killed or overtaken build. Rows are sorted by their key, so equal keys are
neighbours; the queue therefore also proves that a key is unique.
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
from lake.delta.table import Table
from lake.delta.tables import create_table, open_table, table_exists
from lake.delta.writer import Staged, discard, stage
from lake.paths import Lake
from lake.query.session import Connection, fetch
from transform.candidate import Candidate
from transform.next_release import Candidates

log = structlog.get_logger()
# Tables that are sorted and written concurrently; each of them is in memory.
WRITERS = 2


class QueuedTable(msgspec.Struct, frozen=True):
    """A candidate's rows to commit: in files, or in memory if the table's schema has to change first.

    ``is_unique`` is True if these are all rows, and their order proves that the key is unique.
    """

    candidate: Candidate
    rows: Staged | pa.Table
    is_unique: bool


class CommitQueue:
    """The candidates of one build that differ from the release, on the way to their commits.

    ``tables`` are the lake's tables at the version that the build reads or writes.
    """

    def __init__(self, lake: Lake, released: Mapping[str, Table]) -> None:
        self._lake = lake
        self._pool = ThreadPoolExecutor(WRITERS, thread_name_prefix="stage")
        self._queued: dict[str, Future[QueuedTable]] = {}
        self._is_committing = False
        self.tables = dict(released)

    def __enter__(self) -> Self:
        """Return the queue; on exit, files that were not handed to a commit are deleted."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the writers, and delete their files if no commit was tried."""
        self._pool.shutdown(cancel_futures=True)
        if self._is_committing:
            return
        for name, future in self._queued.items():
            is_written = not future.cancelled() and not future.exception()
            if is_written and isinstance(files := future.result().rows, Staged):
                with suppress(OSError):  # report why the build ended; vacuum removes the files
                    discard(self._lake.uri(name), files)

    def add(self, candidates: Candidates, name: str) -> None:
        """Start to write a built table if it differs from the release and is not queued yet."""
        candidate = candidates.tables[name]
        if candidate.differs and name not in self._queued:
            query = candidates.rows_to_write(candidate)
            connection = candidates.workspace.duckdb.cursor()
            self._queued[name] = self._pool.submit(self._prepare, candidate, query, connection)

    def is_unique(self, name: str) -> bool:
        """Return True if a table is written in full and its key is proven unique; False means unknown.

        Waits until the table is written. A failure of the write is left to the checks and the commit.
        """
        future = self._queued.get(name)
        return future is not None and not future.exception() and future.result().is_unique

    def commit(self, candidates: Candidates) -> dict[str, int]:
        """Commit the tables that differ; return their new versions. Raises CommitConflict.

        From then on no file is deleted, even if a commit fails: it may have succeeded although its
        response was lost.
        """
        for name in candidates.tables:
            self.add(candidates, name)
        queued = {name: future.result() for name, future in self._queued.items()}
        self._is_committing = True
        committing: dict[str, Future[int]] = {}
        try:
            for name, table in queued.items():
                committing[name] = self._pool.submit(self._commit, table)
            wait(committing.values())
        finally:  # Ctrl-C waits for the running commits, because the build lock covers them
            wait(committing.values())
        return {name: version.result() for name, version in committing.items()}

    def _prepare(self, candidate: Candidate, query: str, connection: Connection) -> QueuedTable:
        with connection:
            rows = fetch(connection, query)
        name, schema, key = candidate.name, candidate.contract.schema, candidate.contract.key
        is_unique = candidate.partitions is None and is_key_unique(rows, key, candidate.unkeyed_partition)
        # The table may exist although the release does not have it: a model was removed and added again,
        # or a build was killed.
        if name not in self.tables and table_exists(self._lake, name):
            self.tables[name] = open_table(self._lake, name)
        table = self.tables.get(name)
        if table and differs(table.schema, schema):
            return QueuedTable(candidate, rows.cast(schema), is_unique)
        rows = rows.cast(narrow(schema))
        if table:
            return QueuedTable(candidate, table.stage(rows.select(table.schema.names)), is_unique)
        files = stage(name, self._lake.uri(name), rows, partition_by=partition_columns(candidate))
        return QueuedTable(candidate, files, is_unique)

    def _commit(self, queued: QueuedTable) -> int:
        candidate, name = queued.candidate, queued.candidate.name
        columns = partition_columns(candidate)
        if name not in self.tables:
            schema = candidate.contract.schema
            self.tables[name] = create_table(self._lake, name, schema, partition_by=columns)
        if isinstance(queued.rows, Staged):
            version = self.tables[name].replace(queued.rows, candidate.partitions)
        else:
            version = self.tables[name].redefine(queued.rows, partition_by=columns)
        log.debug("transform.committed", table=name, version=version)
        return version


def partition_columns(candidate: Candidate) -> list[str]:
    """Return the columns by which the table is partitioned. Pure."""
    return [candidate.partition_column] if candidate.partition_column else []


def is_key_unique(rows: pa.Table, key: Sequence[str], partition: str | None) -> bool:
    """Return True if the order of the rows proves that no two share a key; False means unknown. Pure.

    Rows are sorted by the column ``partition``, if there is one, then by the key. So a key may
    occur again in another partition.
    """
    types = [rows.schema.field(name).type for name in key]
    # Arrow treats every NaN as different, and can't compare lists.
    if not key or any(pa.types.is_floating(kind) or pa.types.is_nested(kind) for kind in types):
        return False
    if pc.any(equals_previous(rows, key)).as_py():
        return False
    ids = rows[key[0]]
    if partition is None or not rows.num_rows:
        return True
    if ids.null_count or not pa.types.is_integer(ids.type):
        return False
    starts = pc.invert(equals_previous(rows, [partition, key[0]]))
    return is_distinct(pa.chunked_array([*ids.slice(0, 1).chunks, *ids.slice(1).filter(starts).chunks]))


def is_distinct(ids: pa.ChunkedArray) -> bool:
    """Return True if no id occurs twice. Pure.

    This is fast if most ids are greater than all ids before them.
    """
    unsorted = pc.less_equal(ids.slice(1), pc.cumulative_max(ids).slice(0, len(ids) - 1))
    late = ids.slice(1).filter(unsorted).combine_chunks()
    return bool(len(late) == pc.count_distinct(late).as_py() == (pc.sum(pc.is_in(ids, late)).as_py() or 0))


def equals_previous(rows: pa.Table, columns: Sequence[str]) -> pa.ChunkedArray:
    """Return, for each row but the first, whether it has the values of the row before it. Pure."""
    result: pa.ChunkedArray | None = None
    for name in columns:
        before, after = rows[name].slice(0, max(rows.num_rows - 1, 0)), rows[name].slice(1)
        same = pc.equal(before, after)
        if rows[name].null_count:
            both_null = pc.and_(pc.is_null(before), pc.is_null(after))
            same = pc.or_(pc.fill_null(same, False), both_null)
        result = same if result is None else pc.and_(result, same)
    return result
