"""Writer: staged files, one Parquet file for each partition of the rows, to be added by a later commit.

Readers do not see a staged file before the commit. The rows are sliced at each change of the
partition, and are not copied into partitions first. So rows that are sorted by partition, as
those of a build are, go from memory into the files directly.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from urllib.parse import quote

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from lake.delta.checksum import new_name
from lake.delta.commits import LiveFile
from lake.delta.files import Files
from lake.delta.parquet import encoded, is_logged
from lake.errors import CommitConflict, ContractBroken

# Attempts to write files, if an erasure deletes unfinished files at the same time.
TRIES = 50
# Metadata of 96 spare bytes. An erasure rewrites a file in its old size, and the new content may be a
# little longer although values were removed: it states its checksum (see ``lake.delta.checksum``).
ROOM = {"room": "." * 96}
# The values of a partition's columns, and its rows without these columns.
Part = tuple[dict[str, str], pa.Table]


class Staged(msgspec.Struct, frozen=True):
    """Files that are written but not committed, and the facts by which a table checks them.

    ``missing`` is the number of rows without a value, for each column that has such rows;
    ``partition_by`` has the columns by which the rows are partitioned.
    """

    schema: pa.Schema
    missing: Mapping[str, int]
    files: Sequence[LiveFile]
    partition_by: Sequence[str]

    @property
    def count(self) -> int:
        """The number of rows."""
        return sum(file.rows for file in self.files)


def stage(name: str, place: str, rows: pa.Table, *, partition_by: Sequence[str] = ()) -> Staged:
    """Write rows into files of the table ``name`` in the folder ``place``; the table need not exist yet.

    Raises CommitConflict if erasures delete unfinished files during every attempt.
    """
    for _ in range(TRIES):
        with suppress(CommitConflict):
            files = write_files(Files(place), rows, partition_by) if rows.num_rows else []
            return Staged(rows.schema, missing(rows), files, list(partition_by))
    raise CommitConflict(
        f"{name}: erasures kept deleting unfinished files; nothing was written, run it again"
    )


def discard(place: str, staged: Staged) -> None:
    """Delete files that no commit has tried to add.

    If a commit was tried, it may have succeeded although its response was lost: leave its files.
    """
    Files(place).delete(file.path for file in staged.files)


def missing(rows: pa.Table) -> dict[str, int]:
    """Return the number of rows without a value, for each column that has such rows. Pure."""
    counts = {name: rows[name].null_count for name in rows.column_names}
    return {name: count for name, count in counts.items() if count}


def write_files(folder: Files, rows: pa.Table, partition_by: Sequence[str]) -> list[LiveFile]:
    """Write rows into files of a table's folder, one for each partition.

    If one of them can't be written, delete the others and raise its error.
    """
    parts = list(split(rows, partition_by))
    if len(parts) < 2:
        return [write_file(folder, *part) for part in parts]
    with ThreadPoolExecutor(min(folder.parallelism, len(parts)), thread_name_prefix="encode") as pool:
        writes = [pool.submit(write_file, folder, *part) for part in parts]
        wait(writes, return_when=FIRST_EXCEPTION)
        pool.shutdown(cancel_futures=True)
    done = [write for write in writes if not write.cancelled()]
    if error := next(filter(None, (write.exception() for write in done)), None):
        with suppress(OSError):  # the first error is the one to report
            folder.delete(write.result().path for write in done if not write.exception())
        raise error
    return [write.result() for write in writes]


def split(rows: pa.Table, partition_by: Sequence[str]) -> Iterator[Part]:
    """Yield each partition's column value with its rows; the rows do not have the column. Pure.

    ``partition_by`` is one column or none. Raises ContractBroken if a row has no value in it.
    """
    if not partition_by:
        yield {}, rows
        return
    [name] = partition_by
    values = rows[name].combine_chunks()
    runs = pc.run_end_encode(values)
    if any(value in (None, "") for value in runs.values.to_pylist()):
        raise ContractBroken(f"{name} is missing, and the table is partitioned by it")
    if len(runs.values) > len(runs.values.unique()):
        rows = rows.take(pc.sort_indices(values))
        runs = pc.run_end_encode(rows[name].combine_chunks())
    begin, own = 0, rows.drop_columns([name])
    for value, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        yield {name: str(value)}, own.slice(begin, end - begin)
        begin = end


def write_file(folder: Files, partition: dict[str, str], rows: pa.Table) -> LiveFile:
    """Write the rows of one partition; return the file with its statistics for the log."""
    content = encoded(rows, metadata=ROOM)
    place = "/".join(f"{name}={quote(value, safe='')}" for name, value in partition.items())
    path = new_path(place, content)
    folder.create(path, content)
    columns = [field.name for field in rows.schema if is_logged(field)]
    ends = {name: pc.min_max(rows[name]).as_py() for name in columns}
    return LiveFile(
        path,
        len(content),
        rows.num_rows,
        partition,
        {name: rows[name].null_count for name in columns},
        {name: end["min"] for name, end in ends.items() if end["min"] is not None},
        {name: end["max"] for name, end in ends.items() if end["max"] is not None},
    )


def new_path(place: str, content: bytes) -> str:
    """Return an unused path for a content in a partition's folder ``place``, empty without partitions."""
    return f"{place}/" * bool(place) + new_name(content)
