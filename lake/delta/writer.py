"""Parts: the rows of each partition as a Parquet file in the table's folder, for a commit to name.

Rows are cut where the partition changes, and not copied into partitions first: what is
in order by partition, as a build's tables are, goes into its files as it lies in memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from urllib.parse import quote
from uuid import uuid4

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from lake.delta.commits import LiveFile
from lake.delta.files import Files
from lake.delta.parquet import encoded, is_logged
from lake.errors import CommitConflict, ContractBroken

# An erasure writes a file anew in its own size, and a little may be longer without the values.
ROOM = {"room": "." * 32}
# What a folder says, and the rows in it.
Part = tuple[dict[str, str], pa.Table]


def write_files(folder: Files, rows: pa.Table, partition_by: Sequence[str]) -> list[LiveFile]:
    """Write rows into files of a table's folder, one a partition, which nobody sees before a commit.

    Where one of them can't be written none is left.
    """
    parts = list(split(rows, partition_by))
    if len(parts) < 2:
        return [write_file(folder, *part) for part in parts]
    with ThreadPoolExecutor(min(folder.at_once, len(parts)), thread_name_prefix="encode") as pool:
        writing = [pool.submit(write_file, folder, *part) for part in parts]
        wait(writing, return_when=FIRST_EXCEPTION)
        pool.shutdown(cancel_futures=True)
    ended = [one for one in writing if not one.cancelled()]
    if failed := next(filter(None, (one.exception() for one in ended)), None):
        with suppress(OSError):  # why it failed is to be heard
            folder.delete(one.result().path for one in ended if not one.exception())
        raise failed
    return [one.result() for one in writing]


def split(rows: pa.Table, partition_by: Sequence[str]) -> Iterator[Part]:
    """Yield the rows of each partition, without its column, and what its folder says. Pure.

    There is one such column, or none. Raises ContractBroken where a row has nothing there.
    """
    if not partition_by:
        yield {}, rows
        return
    [name] = partition_by
    values = rows[name].combine_chunks()
    found = pc.run_end_encode(values)
    if any(value in (None, "") for value in found.values.to_pylist()):
        raise ContractBroken(f"{name} is missing, and the table is partitioned by it")
    if len(found.values) > len(found.values.unique()):
        rows = rows.take(pc.sort_indices(values))
        found = pc.run_end_encode(rows[name].combine_chunks())
    begin, own = 0, rows.drop_columns([name])
    for value, end in zip(found.values.to_pylist(), found.run_ends.to_pylist(), strict=True):
        yield {name: str(value)}, own.slice(begin, end - begin)
        begin = end


def write_file(folder: Files, partition: dict[str, str], rows: pa.Table) -> LiveFile:
    """Write the rows of one partition; return the file as a log has it."""
    content = encoded(rows, metadata=ROOM)
    path = new_path("/".join(f"{name}={quote(value, safe='')}" for name, value in partition.items()))
    folder.create(path, content)
    told = [field.name for field in rows.schema if is_logged(field)]
    ends = {name: pc.min_max(rows[name]).as_py() for name in told}
    return LiveFile(
        path,
        len(content),
        rows.num_rows,
        partition,
        {name: rows[name].null_count for name in told},
        {name: end["min"] for name, end in ends.items() if end["min"] is not None},
        {name: end["max"] for name, end in ends.items() if end["max"] is not None},
    )


def new_path(place: str) -> str:
    """Return a path in a partition's folder (empty: the table has none) that no file has."""
    return f"{place}/" * bool(place) + f"part-00000-{uuid4()}-c000.zstd.parquet"


# So often files are written anew where an erasure tidied up what was half there.
TRIES = 50


class Staged(msgspec.Struct, frozen=True):
    """Files, and what a table has to know of the rows in them before it takes these.

    ``missing`` says, of the columns that lack a value somewhere, in how many rows; ``partition_by``
    is how the rows are cut into files.
    """

    schema: pa.Schema
    missing: Mapping[str, int]
    files: Sequence[LiveFile]
    partition_by: Sequence[str]

    @property
    def count(self) -> int:
        """How many rows there are."""
        return sum(file.rows for file in self.files)


def stage(name: str, place: str, rows: pa.Table, *, partition_by: Sequence[str] = ()) -> Staged:
    """Write rows into files of a table's folder, which need not be a table's yet.

    Raises CommitConflict where erasures tidy up again and again what is half there.
    """
    for _ in range(TRIES):
        with suppress(CommitConflict):
            files = write_files(Files(place), rows, partition_by) if rows.num_rows else []
            return Staged(rows.schema, missing(rows), files, list(partition_by))
    raise CommitConflict(f"{name}: others tidied up without pause; nothing was written, run it again")


def discard(place: str, staged: Staged) -> None:
    """Delete files that were never offered to a commit: an answer that was lost may have been a yes."""
    Files(place).delete(file.path for file in staged.files)


def missing(rows: pa.Table) -> dict[str, int]:
    """Return in how many rows a column lacks a value, of those that do. Pure."""
    counts = {name: rows[name].null_count for name in rows.column_names}
    return {name: count for name, count in counts.items() if count}
