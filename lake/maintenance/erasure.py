"""Erasure: values leave a table for good, from every version of it, and each version stays what it was.

A file that holds them is replaced by one of the same name, rows and size without them;
the log quotes no text: see ``lake.delta.table.statistics``. So nothing that names a version has
to change: every kept release opens as before and sums the same.
Each file is replaced at once; killed midway, the same call again finishes. It is the one
breach of the rule that a data file never changes, and the reason why a backup, which
tells files by name and size, has to be erased as the lake is.

A query that reads a file at that very moment can fail, as an engine opens it once for its
footer and once for its rows; it never answers with half of each, and put again it succeeds.
What has been copied out of the lake before, as a server does with gold, is undisturbed.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import datetime
from io import BytesIO
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lake.delta.contract import Contract
from lake.delta.files import HALF, Files
from lake.delta.parquet import LEVEL, encoded
from lake.delta.table import create_table
from lake.errors import LakeError
from lake.paths import Lake

ERASURES = "ops.erasures"
SCHEMA = Contract.of({"erased_at": "TIMESTAMPTZ", "rows": "BIGINT", "files": "BIGINT"}).schema
# Whoever appends while this runs may bring the values once more.
PASSES = 5
# What makes a file smaller, if the first does not make it small enough to be filled up.
LEVELS = (LEVEL, 19)
FILLINGS = ("filling", "filling.")
Change = Callable[[Any], Any]


class Redaction(msgspec.Struct, frozen=True):
    """In one table: rows whose ``key`` is among ``ids`` get each column's value changed."""

    table: str
    key: str
    ids: Set[Any]
    changes: Mapping[str, Change]


class Erased(msgspec.Struct, frozen=True):
    """How many rows, as files hold them, lost something, and how many files were written anew."""

    rows: int
    files: int


def erase(lake: Lake, redactions: Sequence[Redaction]) -> Erased:
    """Change the values in every file there is, whichever version it belongs to; again until none is left.

    Raises LakeError where a file can't be written anew in its size; it is as it was then.
    """
    files = Files(lake.place)
    done: Counter[str] = Counter()
    for _ in range(PASSES):
        found = sum((erase_table(files, redaction) for redaction in redactions), Counter[str]())
        done += found
        if not found["rows"]:
            files.tidy()
            return Erased(done["rows"], done["files"])
    raise LakeError("others write the same values again without pause; stop the ingest and erase once more")


def record(lake: Lake, erased: Erased, *, at: datetime) -> None:
    """Write down that something was erased: when and how much, not what."""
    row = {"erased_at": at, "rows": erased.rows, "files": erased.files}
    create_table(lake, ERASURES, SCHEMA).append(pa.Table.from_pylist([row], schema=SCHEMA))


def erase_table(files: Files, redaction: Redaction) -> Counter[str]:
    """Change one table's files; return rows and files."""
    folder = redaction.table.replace(".", "/")
    done: Counter[str] = Counter()
    found = sorted(files.sizes(folder))
    # What a killed writer left; one that is at it begins anew.
    files.delete(path for path in found if path.endswith(HALF))
    for path in found:
        is_data = path.endswith(".parquet") and not path.startswith(f"{folder}/_delta_log/")
        if is_data and (rows := erase_file(files, path, redaction)):
            done.update(rows=rows, files=1)
    return done


def erase_file(files: Files, path: str, redaction: Redaction) -> int:
    """Change one data file's rows; return how many. A file without such rows is not written."""
    try:
        content = files.read(path)
    except LakeError:
        return 0  # a vacuum deleted it meanwhile, or a build that committed none of its files
    parquet = pq.ParquetFile(BytesIO(content))
    if redaction.key not in parquet.schema_arrow.names:
        return 0
    keys = parquet.read([redaction.key], use_threads=False)[redaction.key]
    is_meant = pc.is_in(keys, pa.array(list(redaction.ids), keys.type)).to_pylist()
    if not any(is_meant):
        return 0
    before = parquet.read(use_threads=False)
    after, rows = changed(before, is_meant, redaction.changes)
    if rows:
        files.write(path, [parquet_of(after, len(content), path)])
    return rows


def changed(rows: pa.Table, is_meant: Sequence[bool], changes: Mapping[str, Change]) -> tuple[pa.Table, int]:
    """Return the rows with the values changed where they are meant, and how many differ. Pure."""
    differing: set[int] = set()
    for column in changes.keys() & set(rows.column_names):
        old = rows[column].to_pylist()
        new = [changes[column](value) if meant else value for value, meant in zip(old, is_meant, strict=True)]
        differing.update(place for place, value in enumerate(new) if value != old[place])
        at = rows.column_names.index(column)
        rows = rows.set_column(at, rows.field(column), pa.array(new, rows.field(column).type))
    return rows, len(differing)


def parquet_of(rows: pa.Table, size: int, path: str) -> bytes:
    """Return the rows as a Parquet file of exactly so many bytes. Raises LakeError."""
    for level in LEVELS:
        for name in FILLINGS:
            filling = 0
            for _ in range(8):
                content = encoded(rows, level=level, metadata={name: "." * filling})
                if len(content) == size:
                    return content
                filling += size - len(content)
                if filling < 0:
                    break
    raise LakeError(
        f"{path}: without its erased values it does not fit into {size} bytes; it stays as it was"
    )
