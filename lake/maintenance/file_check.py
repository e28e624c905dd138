"""File check: what is wrong with a data file, or with the files of a table's log."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from lake.delta.checksum import is_intact, stated
from lake.delta.checksum_file import has_checksum, read_checksum
from lake.delta.files import Files
from lake.delta.log_check import fault_of
from lake.delta.log_files import LOG, list_log
from lake.errors import LakeError


class NeededFile(msgspec.Struct, frozen=True):
    """A data file that a version needs: its table, its path in the lake, and its recorded bytes.

    ``size`` is None if the log can't be read.
    """

    table: str
    path: str
    size: int | None = None


# Returns what is wrong with the rows of a file; None if nothing is. Several threads call it.
RowCheck = Callable[[NeededFile, pa.Table], str | None]


def data_fault(
    files: Files, file: NeededFile, *, deep: bool = False, row_check: RowCheck | None = None
) -> str | None:
    """Return what is wrong with a data file; None if it is intact.

    A file without a checksum in its name is decoded. If ``deep``, every file is, for ``row_check`` too.
    """
    try:
        content = files.read(file.path)
    except LakeError:
        return "is missing"
    except OSError as error:
        return f"can't be read: {error.strerror or error}"
    if not is_intact(file.path, content):
        return "is not as it was written: its checksum differs"
    if file.size is not None and len(content) != file.size:
        return f"has {len(content)} bytes, its table recorded {file.size}"
    if not deep and stated(file.path):
        return None
    if fault := decoding_fault(content):
        return fault
    return row_check(file, decoded(content)) if deep and row_check else None


def decoding_fault(content: bytes) -> str | None:
    """Return why a Parquet file can't be decoded; None if it can. Pure."""
    try:
        decoded(content)
    except (pa.ArrowException, OSError) as error:
        return f"can't be decoded: {' '.join(str(error).split())}"
    return None


def decoded(content: bytes) -> pa.Table:
    """Return the rows of a Parquet file; the checksums of its pages are verified."""
    return pq.ParquetFile(BytesIO(content), page_checksum_verification=True).read(use_threads=False)


def log_faults(place: str, *, released: int = -1) -> list[tuple[Path, str]]:
    """Return the damaged files of a table's log on a disk, each with what is wrong.

    The first missing entry that the head or the ``released`` version needs is one of them.
    """
    files = list_log(place)
    faults = [(file, fault_of(file)) for _, file in sorted(files.entries.items())]
    faults += [(file, checkpoint_fault(file)) for own in files.checkpoints.values() for file in own]
    head = max(files.head, released)
    needed = range(files.base(head) + 1, head + 1)
    if missing := [version for version in needed if version not in files.entries]:
        faults.append((Path(place) / LOG / f"{missing[0]:020d}.json", "is missing"))
    return [(file, fault) for file, fault in faults if fault]


def checkpoint_fault(file: Path) -> str | None:
    """Return what is wrong with a file of a checkpoint; None if nothing, or another process deleted it."""
    try:
        content, expected = file.read_bytes(), read_checksum(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"can't be read: {error.strerror}"
    if expected and not has_checksum(content, expected):
        return "is not as it was written: its checksum differs"
    return decoding_fault(content)
