"""Files: the files below one place, a folder or a prefix in an object store, by relative path.

A file appears whole or not at all. On a disk it is written under another name and then moved; an
object store shows an object only after all of it has arrived.
"""

import contextlib
import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow.fs as fs

from lake.delta.durability import sync, sync_folders
from lake.errors import CommitConflict, LakeError
from lake.paths import Lake, open_store

# The folder of files that are being copied.
ASIDE = ".copying"
# The suffix of a new file that is being written.
HALF = ".half"
CORES = os.cpu_count() or 1
# Files that are uploaded to an object store concurrently.
UPLOADS = 16


class Files:
    """The files of a place: list, read, write, copy and delete. Credentials come from the environment."""

    def __init__(self, place: str) -> None:
        lake = Lake(root=place)
        self.place = lake.place
        self._is_local = lake.is_local
        self._system = fs.LocalFileSystem() if self._is_local else open_store(self.place)
        self._root = f"{self.place}/" if self._is_local else ""

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Return ``{path: bytes}`` of every file below a folder, subfolders included."""
        start = f"{self._root}{folder}".rstrip("/")
        infos = self._system.get_file_info(fs.FileSelector(start, allow_not_found=True, recursive=True))
        files = (info for info in infos if info.type == fs.FileType.File)
        return {info.path.removeprefix(self._root): info.size for info in files}

    def has(self, path: str) -> bool:
        """True if a file is at the path."""
        return bool(self._system.get_file_info(self._root + path).type == fs.FileType.File)

    def read(self, path: str) -> bytes:
        """Return the bytes of a file. Raises LakeError if it does not exist."""
        with self._open(path) as stream:
            return bytes(stream.read())

    def read_if_possible(self, path: str) -> bytes | None:
        """Return the bytes of a file; None if it does not exist, nothing if the disk can't read it."""
        try:
            return self.read(path)
        except LakeError:
            return None
        except OSError:
            if not self._is_local:
                raise
            return b""

    def write(self, path: str, chunks: Iterable[bytes]) -> int:
        """Write a file, or replace an older one; return its number of bytes. On a disk it is synced.

        Raises CommitConflict if another copy to the place, or an erasure, deleted the unfinished file.
        """
        size = 0
        written = f"{ASIDE}/{os.getpid()}-{uuid4().hex}" if self._is_local else path
        if self._is_local:
            self._make_folder(written)
        with self._open_new(written) as stream:
            for chunk in chunks:
                stream.write(chunk)
                size += len(chunk)
        if self._is_local:
            self._make_folder(path)
            self._put_in_place(written, path, is_synced=True)
            sync_folders(Path(self._root + path).parent, top=Path(self.place))
        return size

    def create(self, path: str, content: bytes) -> None:
        """Write a new file, whole or not at all. Raises CommitConflict as ``write`` does."""
        if not self._is_local:
            self._objects.put(path, content)
            return
        half = path + HALF
        try:
            opened = self._open_new(half)
        except FileNotFoundError:  # this is the first file of a partition
            self._make_folder(path)
            opened = self._open_new(half)
        try:
            with opened as stream:
                stream.write(content)
            self._put_in_place(half, path)
        except OSError:  # for example, the disk is full
            with contextlib.suppress(OSError):
                self.delete([half])
            raise

    @property
    def parallelism(self) -> int:
        """How many files to create concurrently. An object store has latency, and a disk has not."""
        return CORES if self._is_local else UPLOADS

    @cached_property
    def _objects(self) -> Any:
        # Imported only here, because a lake on a disk does not need it.
        from obstore.store import from_url

        return from_url(self.place)

    def delete(self, paths: Iterable[str]) -> None:
        """Delete the files; ignore those that do not exist."""
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                self._system.delete_file(self._root + path)

    def tidy(self) -> None:
        """Delete the unfinished files of copies that were killed."""
        if self._is_local:
            self.delete(self.sizes(ASIDE))
            with contextlib.suppress(OSError):
                os.rmdir(self._root + ASIDE)

    def _put_in_place(self, written: str, path: str, *, is_synced: bool = False) -> None:
        try:
            if is_synced:
                sync(Path(self._root + written))
            self._system.move(self._root + written, self._root + path)
        except FileNotFoundError:
            raise CommitConflict(
                f"{self.place}: another copy or erasure deleted an unfinished file here; run it again"
            ) from None

    def _open(self, path: str) -> Any:
        try:
            return self._system.open_input_stream(self._root + path, compression=None)
        except FileNotFoundError:
            raise LakeError(f"{self.place}/{path}: no such file, although it belongs to this place") from None

    def _open_new(self, path: str) -> Any:
        if self._is_local:
            return self._system.open_output_stream(self._root + path, compression=None)
        from obstore import open_writer

        return open_writer(self._objects, path)

    def _make_folder(self, path: str) -> None:
        os.makedirs((self._root + path).rpartition("/")[0], exist_ok=True)
