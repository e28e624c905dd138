"""Redaction: removal of personal values from every version of a table, with all else unchanged.

A file with such values is replaced by a file of the same name, number of rows and size without
them. The log has no statistics of texts, see ``lake.delta.properties.statistics``. So every retained
release opens as before and has the same sums. Each file is replaced atomically; if the process is
killed, another call finishes the work. This is the only exception to the rule that a data file never
changes. A backup recognizes files by name and size, so values have to be erased there too.

A query that reads a file while it is replaced can fail, because an engine opens the file once for
its footer and once for its rows. It never returns a mix of both files, and a second attempt
succeeds. Copies made before, such as a server's copy of gold, do not change.
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

from lake.delta.checksum import INSIDE, is_intact, state_inside, stated
from lake.delta.damage import REPAIR
from lake.delta.files import HALF, Files
from lake.delta.ledger import Ledger
from lake.delta.parquet import LEVEL, encoded
from lake.errors import LakeError, TableDamaged
from lake.paths import Lake

# Passes over all files; a concurrent writer may append the values again.
PASSES = 5
# Compression levels to try until the file is small enough to be padded to its old size.
LEVELS = (LEVEL, 19)
# Metadata keys of the padding; their lengths differ by one byte.
FILLINGS = ("filling", "filling.")
Change = Callable[[Any], Any]


class Redaction(msgspec.Struct, frozen=True):
    """How to change a table's values: a function by column, for the rows whose ``key`` is one of ``ids``."""

    table: str
    key: str
    ids: Set[Any]
    changes: Mapping[str, Change]


class Erased(msgspec.Struct, frozen=True):
    """Numbers of rows that lost values, counted once per file, and of files that were rewritten."""

    rows: int
    files: int


class Erasure(msgspec.Struct, frozen=True):
    """One row of ``ops.erasures``: an erasure's time and size."""

    erased_at: datetime
    rows: int
    files: int


LEDGER = Ledger("ops.erasures", Erasure, order_by="erased_at")
ERASURES = LEDGER.name


def erase(lake: Lake, redactions: Sequence[Redaction]) -> Erased:
    """Change the values in all files, of every version, until a pass finds none.

    Raises LakeError if a file can't be rewritten in its size; the file is unchanged then.
    """
    files = Files(lake.place)
    done: Counter[str] = Counter()
    for _ in range(PASSES):
        erased = sum((erase_table(files, redaction) for redaction in redactions), Counter[str]())
        done += erased
        if not erased["rows"]:
            files.tidy()
            return Erased(done["rows"], done["files"])
    raise LakeError(
        f"the values were written again in each of {PASSES} passes; stop the ingest and erase again"
    )


def record(lake: Lake, erased: Erased, *, at: datetime) -> None:
    """Append to the ledger when and how many rows and files were erased, but not the values."""
    LEDGER.append(lake, [Erasure(at, erased.rows, erased.files)])


def erase_table(files: Files, redaction: Redaction) -> Counter[str]:
    """Change one table's files; return the numbers of changed rows and files."""
    folder = redaction.table.replace(".", "/")
    done: Counter[str] = Counter()
    paths = sorted(files.sizes(folder))
    # Unfinished files of killed writers; a writer that is still active starts its file again.
    files.delete(path for path in paths if path.endswith(HALF))
    for path in paths:
        is_data = path.endswith(".parquet") and not path.startswith(f"{folder}/_delta_log/")
        if is_data and (rows := erase_file(files, path, redaction)):
            done.update(rows=rows, files=1)
    return done


def erase_file(files: Files, path: str, redaction: Redaction) -> int:
    """Change one data file's rows and return their number. If it has no such rows, it is not rewritten.

    Raises TableDamaged if the file is damaged: it would have a valid checksum after that.
    """
    try:
        content = files.read(path)
    except LakeError:
        return 0  # deleted by a vacuum, or by a build that failed
    if not is_intact(path, content):
        raise TableDamaged(f"{redaction.table}: {path} is not as it was written; {REPAIR}, then erase again")
    parquet = pq.ParquetFile(BytesIO(content))
    if redaction.key not in parquet.schema_arrow.names:
        return 0
    keys = parquet.read([redaction.key], use_threads=False)[redaction.key]
    is_selected = pc.is_in(keys, pa.array(list(redaction.ids), keys.type)).to_pylist()
    if not any(is_selected):
        return 0
    before = parquet.read(use_threads=False)
    after, rows = change_values(before, is_selected, redaction.changes)
    if rows:
        files.write(path, [parquet_of_size(after, len(content), path)])
    return rows


def change_values(
    rows: pa.Table, is_selected: Sequence[bool], changes: Mapping[str, Change]
) -> tuple[pa.Table, int]:
    """Return all rows with changed values in the selected ones, and the number of rows that differ. Pure."""
    differing: set[int] = set()
    for column in changes.keys() & set(rows.column_names):
        old = rows[column].to_pylist()
        new = [
            changes[column](value) if selected else value
            for value, selected in zip(old, is_selected, strict=True)
        ]
        differing.update(row for row, value in enumerate(new) if value != old[row])
        index = rows.column_names.index(column)
        rows = rows.set_column(index, rows.field(column), pa.array(new, rows.field(column).type))
    return rows, len(differing)


def parquet_of_size(rows: pa.Table, size: int, path: str) -> bytes:
    """Return the rows as a Parquet file of exactly ``size`` bytes. Raises LakeError if they don't fit.

    If the file's name states a checksum, the content states one inside. Other files have no checksums of
    pages either, because they were written without room for them.
    """
    has_checksum = bool(stated(path))
    for level in LEVELS:
        for name in FILLINGS:
            filling = 0
            for _ in range(8):
                metadata = {name: "." * filling, **(INSIDE if has_checksum else {})}
                content = encoded(rows, level=level, metadata=metadata, checksums=has_checksum)
                if len(content) == size:
                    return state_inside(content) if has_checksum else content
                filling += size - len(content)
                if filling < 0:
                    break
    raise LakeError(
        f"{path}: the file can't be rewritten in {size} bytes without the erased values; it is unchanged"
    )
