"""Staged: rows in files of a table's folder that no version names yet, and maybe none ever does."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec
import pyarrow as pa

from lake.delta.files import Files
from lake.delta.live import LiveFile
from lake.delta.parts import write_files
from lake.errors import CommitConflict

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
