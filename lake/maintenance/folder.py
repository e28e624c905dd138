"""Store: the files in a table's folder, on this disk or in an object store, as they lie there."""

import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import unquote

import msgspec
import pyarrow.fs as pafs
from deltalake import DeltaTable
from deltalake.fs import DeltaStorageHandler

from lake.delta.commits import live_files
from lake.maintenance.plan import Commit, Log, Segment, Stored, segments_of

LOG = "_delta_log/"
NAME = re.compile(r"_delta_log/(\d{20})\.(json|checkpoint\..*parquet)")


class Added(msgspec.Struct):
    """A file that a commit added, or the change data it wrote."""

    path: str
    size: int = 0


class Entry(msgspec.Struct):
    """One line of a commit; what else a line may say is left out."""

    add: Added | None = None
    remove: Added | None = None


decoder = msgspec.json.Decoder(Entry)


class Folder:
    """A table's folder: what is in it, what its log says; files can be deleted, checkpoints be made."""

    def __init__(self, delta: DeltaTable) -> None:
        self._delta = delta
        self._fs, self._root = filesystem(delta)
        self.stored = self._list()

    @property
    def data(self) -> list[Stored]:
        """Everything that is not log."""
        return [file for file in self.stored if not file.path.startswith(LOG)]

    @property
    def log_files(self) -> list[Stored]:
        """The log, whatever there is in it."""
        return [file for file in self.stored if file.path.startswith(LOG)]

    @property
    def log(self) -> Log:
        """The versions that the log has commits and checkpoints of."""
        names = [match for file in self.log_files if (match := NAME.fullmatch(file.path))]
        return Log(
            frozenset(int(match[1]) for match in names if match[2] == "json"),
            frozenset(int(match[1]) for match in names if match[2] != "json"),
        )

    def entries(self, log: Log) -> list[Stored]:
        """Return the files of these commits and checkpoints."""
        found = [(NAME.fullmatch(file.path), file) for file in self.log_files]
        return [
            file
            for match, file in found
            if match and int(match[1]) in (log.commits if match[2] == "json" else log.checkpoints)
        ]

    def segments(self) -> list[Segment]:
        """Read the log, stretch by stretch."""
        at = {file.path: file.modified for file in self.log_files}
        log = self.log
        return [
            Segment(
                versions[0] - 1 if base is None else base,
                {} if base is None else self._files(base),
                tuple(self._commit(version, at) for version in versions),
                self._commit(base, at) if base in log.commits else None,
            )
            for base, versions in segments_of(log)
        ]

    @property
    def live(self) -> dict[str, int]:
        """Bytes by path of the files at the head."""
        return live_files(self._delta)

    def checkpoint(self, version: int) -> None:
        """Write the state at a version into the log, for readers to start from."""
        DeltaTable(self._delta.table_uri, version=version).create_checkpoint()

    def delete(self, files: Iterable[Stored]) -> None:
        """Delete the files; one that is gone already is no matter."""
        for file in files:
            with suppress(FileNotFoundError):
                self._fs.delete_file(self._root + file.path)

    def _list(self) -> list[Stored]:
        found = self._fs.get_file_info(pafs.FileSelector(self._root.rstrip("/"), recursive=True))
        return [
            Stored(info.path.removeprefix(self._root), info.size or 0, info.mtime)
            for info in found
            if info.type == pafs.FileType.File
        ]

    def _files(self, version: int) -> dict[str, int]:
        delta = DeltaTable(self._delta.table_uri, version=version)
        return live_files(delta)

    def _commit(self, version: int, at: dict[str, datetime]) -> Commit:
        path = f"{LOG}{version:020d}.json"
        with self._fs.open_input_file(self._root + path) as file:
            entries = decoder.decode_lines(file.read())
        return Commit(
            version,
            at.get(path, datetime.now(UTC)),
            {unquote(entry.add.path): entry.add.size for entry in entries if entry.add},
            frozenset(unquote(entry.remove.path) for entry in entries if entry.remove),
        )


def filesystem(delta: DeltaTable) -> tuple[pafs.FileSystem, str]:
    """Return the table's store, and the table's root in it, with a slash where it is not empty.

    On this disk it is the disk itself: the object-store view hides what a killed writer left.
    """
    root = delta.table_uri
    if "://" not in root or root.startswith("file://"):
        return pafs.LocalFileSystem(), unquote(root.removeprefix("file://")).rstrip("/") + "/"
    return pafs.PyFileSystem(DeltaStorageHandler.from_table(delta._table)), ""
