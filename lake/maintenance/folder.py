"""Folder: the data files and the log of a table, on a local disk or in an object store."""

import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import unquote

import msgspec
import pyarrow.fs as pafs
from deltalake import DeltaTable
from deltalake.fs import DeltaStorageHandler

from lake.delta.commits import folder_of, live_files
from lake.delta.durability import seal
from lake.delta.log_entry import fault
from lake.errors import TableDamaged
from lake.maintenance.plan import Commit, Log, Segment, StoredFile, segments_of

LOG = "_delta_log/"
NAME = re.compile(r"_delta_log/(\d{20})\.(json|checkpoint\..*parquet)")


class Added(msgspec.Struct):
    """A data file that a commit added or removed; ``size`` in bytes."""

    path: str
    size: int = 0


class Entry(msgspec.Struct):
    """One line of a commit, without actions other than add and remove."""

    add: Added | None = None
    remove: Added | None = None


decoder = msgspec.json.Decoder(Entry)


class Folder:
    """A table's folder: it lists files, reads the log, writes checkpoints and deletes files.

    On a disk its checkpoints are synced if ``is_durable``.
    """

    def __init__(self, delta: DeltaTable, *, is_durable: bool = True) -> None:
        self._delta = delta
        self._is_durable = is_durable
        self._fs, self._root = filesystem(delta)
        self.stored = self._list()

    @property
    def data(self) -> list[StoredFile]:
        """All files outside the log."""
        return [file for file in self.stored if not file.path.startswith(LOG)]

    @property
    def log_files(self) -> list[StoredFile]:
        """All files in the log's folder."""
        return [file for file in self.stored if file.path.startswith(LOG)]

    @property
    def log(self) -> Log:
        """The versions of the log's commits and checkpoints."""
        names = [match for file in self.log_files if (match := NAME.fullmatch(file.path))]
        return Log(
            frozenset(int(match[1]) for match in names if match[2] == "json"),
            frozenset(int(match[1]) for match in names if match[2] != "json"),
        )

    def entries(self, log: Log) -> list[StoredFile]:
        """Return the files of the given commits and checkpoints."""
        matches = [(NAME.fullmatch(file.path), file) for file in self.log_files]
        return [
            file
            for match, file in matches
            if match and int(match[1]) in (log.commits if match[2] == "json" else log.checkpoints)
        ]

    def segments(self) -> list[Segment]:
        """Read the log, one segment per unbroken run of versions.

        Raises TableDamaged if an entry is damaged.
        """
        modified = {file.path: file.modified for file in self.log_files}
        log = self.log
        return [
            Segment(
                versions[0] - 1 if base is None else base,
                {} if base is None else self._files(base),
                tuple(self._commit(version, modified) for version in versions),
                self._commit(base, modified) if base in log.commits else None,
            )
            for base, versions in segments_of(log)
        ]

    @property
    def live(self) -> dict[str, int]:
        """Size in bytes of each file at the head, by path."""
        return live_files(self._delta)

    def checkpoint(self, version: int) -> None:
        """Write the checkpoint of a version, from which readers can start."""
        DeltaTable(self._delta.table_uri, version=version).create_checkpoint()
        if folder := folder_of(self._delta):
            seal(folder, version, is_durable=self._is_durable)

    def delete(self, files: Iterable[StoredFile]) -> None:
        """Delete the files; a file that is already deleted is ignored."""
        for file in files:
            with suppress(FileNotFoundError):
                self._fs.delete_file(self._root + file.path)

    def _list(self) -> list[StoredFile]:
        infos = self._fs.get_file_info(pafs.FileSelector(self._root.rstrip("/"), recursive=True))
        return [
            StoredFile(info.path.removeprefix(self._root), info.size or 0, info.mtime)
            for info in infos
            if info.type == pafs.FileType.File
        ]

    def _files(self, version: int) -> dict[str, int]:
        delta = DeltaTable(self._delta.table_uri, version=version)
        return live_files(delta)

    def _commit(self, version: int, modified: dict[str, datetime]) -> Commit:
        path = f"{LOG}{version:020d}.json"
        with self._fs.open_input_file(self._root + path) as file:
            content = file.read()
        if reason := fault(content, version):
            raise TableDamaged(f"{self._delta.table_uri}/{path} {reason}; run `just repair`")
        entries = decoder.decode_lines(content)
        return Commit(
            version,
            modified.get(path, datetime.now(UTC)),
            {unquote(entry.add.path): entry.add.size for entry in entries if entry.add},
            frozenset(unquote(entry.remove.path) for entry in entries if entry.remove),
        )


def filesystem(delta: DeltaTable) -> tuple[pafs.FileSystem, str]:
    """Return the table's file system and its root there, which ends in a slash if it is not empty.

    A local table is read from the disk directly, because delta-rs's view of a store does not list
    the temporary files of killed writers.
    """
    root = delta.table_uri
    if "://" not in root or root.startswith("file://"):
        return pafs.LocalFileSystem(), unquote(root.removeprefix("file://")).rstrip("/") + "/"
    return pafs.PyFileSystem(DeltaStorageHandler.from_table(delta._table)), ""
