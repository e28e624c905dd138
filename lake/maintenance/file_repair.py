"""File repair: damaged data files become what they were, if that can be proven.

The checksum in a file's name proves it. One flipped bit is flipped back. Otherwise the same content may
be in another file of the lake, or in a backup. What can't be repaired like this is left as it is.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec
import structlog

from lake.delta.checksum import MARK, flipped_back, is_intact, is_stated_inside, repaired, stated
from lake.delta.checksum_file import read_checksum
from lake.delta.durability import write_sealed
from lake.delta.files import Files
from lake.delta.log_check import is_whole_checkpoint
from lake.delta.log_entry import fault, version_of
from lake.delta.log_files import list_checkpoints
from lake.maintenance.archived import archived_tables, archives
from lake.maintenance.file_check import log_faults
from lake.paths import LAYERS, Lake

log = structlog.get_logger()
How = Literal["one bit was flipped back", "copied from an equal file", "copied from the backup"]


class RepairedFile(msgspec.Struct, frozen=True):
    """A file that is again as it was written; ``how`` is None if it is still damaged."""

    path: str
    how: How | None


def repair_files(lake: Lake, backup: Lake | None = None) -> list[RepairedFile]:
    """Repair the damaged files below a lake, also those that no table names; return all damaged ones.

    These are data files, checkpoints, and the logs of archives. If there is a ``backup``, files that
    it has are copied from it.
    """
    files, copies = Files(lake.place), Files(backup.place) if backup else None
    paths = [path for path in files.sizes() if stated(path) and not path.startswith(".")]
    twins: dict[str, list[str]] = {}
    for path in paths:
        twins.setdefault(str(stated(path)), []).append(path)
    done = [RepairedFile(path, repair(files, path, twins, copies)) for path in damaged(files, paths)]
    done += repair_checkpoints(lake)
    done += repair_archived_logs(lake, copies)
    for file in done:
        log.info("lake.file_repaired" if file.how else "lake.file_not_repaired", path=file.path, how=file.how)
    return done


def repair_checkpoints(lake: Lake) -> Iterator[RepairedFile]:
    """Repair the damaged checkpoints of a lake on a disk, and yield them."""
    names = [name for layer in LAYERS for name in lake.tables(layer)] if lake.is_local else []
    for file in (file for name in names for file in list_checkpoints(lake.uri(name))):
        expected = read_checksum(file)
        if expected is None or is_whole_checkpoint(file):
            continue
        content = flipped_back(file.read_bytes(), expected)
        if content is not None:
            write_sealed(file, content, is_durable=lake.durable)
        path = str(file.relative_to(lake.place))
        yield RepairedFile(path, None if content is None else "one bit was flipped back")


def repair_archived_logs(lake: Lake, copies: Files | None) -> Iterator[RepairedFile]:
    """Repair the damaged log entries of the archives on a disk, and yield them.

    The entries of an archive never change, so each is in every later backup.
    """
    logs = [
        (archive.uri(name), max(version, 0), f"{place}/{name.replace('.', '/')}/_delta_log")
        for place, archive in (archives(lake) if lake.is_local else {}).items()
        for name, version in archived_tables(archive).items()
    ]
    for uri, version, folder in logs:
        for file, _ in log_faults(uri, released=version):
            path = f"{folder}/{file.name}"
            content = (copies.read_if_possible(path) if copies else None) or b""
            is_whole = file.suffix == ".json" and fault(content, version_of(file.name)) is None
            if is_whole:
                file.parent.mkdir(parents=True, exist_ok=True)
                write_sealed(file, content, is_durable=lake.durable)
            yield RepairedFile(path, "copied from the backup" if is_whole else None)


def damaged(files: Files, paths: list[str]) -> Iterator[str]:
    """Yield the damaged ones of these files; one that was deleted is none."""
    for path in sorted(paths):
        content = files.read_if_possible(path)
        if content is not None and not is_intact(path, content):
            yield path


def repair(files: Files, path: str, twins: Mapping[str, list[str]], copies: Files | None) -> How | None:
    """Write a file as it was; return how that is known, None if it is not."""
    content = files.read_if_possible(path) or b""
    candidates: list[tuple[How, bytes | None]] = [("one bit was flipped back", repaired(path, content))]
    for twin in twins[str(stated(path))]:
        candidates.append(("copied from an equal file", files.read_if_possible(twin)))
    if copies and copies.has(path):
        candidates.append(("copied from the backup", copies.read_if_possible(path)))
    for how, candidate in candidates:
        if candidate is not None and is_same_file(path, content, candidate):
            files.write(path, [candidate])
            return how
    return None


def is_same_file(path: str, damaged: bytes, candidate: bytes) -> bool:
    """True if a content is intact, and no older one than the damaged content: an erasure stays. Pure."""
    is_erased = MARK.encode() in damaged
    return is_intact(path, candidate) and (not is_erased or is_stated_inside(candidate))
