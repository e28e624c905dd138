"""Parts: the rows of each partition as a Parquet file in the table's folder, for a commit to name.

Rows are cut where the partition changes, and not copied into partitions first: what is
in order by partition, as a build's tables are, goes into its files as it lies in memory.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from urllib.parse import quote
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc

from lake.delta.files import Files
from lake.delta.live import LiveFile
from lake.delta.parquet import encoded, is_logged
from lake.errors import ContractBroken

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
