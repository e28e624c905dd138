"""Files: the bytes under one place, a folder or an object store's prefix, by their relative paths.

For what copies a lake as it lies. A file appears whole or not at all: on a disk it is
written aside and moved, and a store shows an object once all of it has arrived.
"""

import contextlib
import os
from collections.abc import Iterable
from functools import cached_property
from typing import Any
from uuid import uuid4

import pyarrow.fs as fs

from lake.errors import CommitConflict, LakeError
from lake.paths import Lake, open_store

ASIDE = ".copying"
# A new file until all of it is there.
HALF = ".half"
CORES = os.cpu_count() or 1
UPLOADS = 16
CHUNK = 8 * 1024 * 1024


class Files:
    """A place whose files are listed, read, written and deleted; credentials are the environment's."""

    def __init__(self, place: str) -> None:
        lake = Lake(root=place)
        self.place = lake.place
        self._is_local = lake.is_local
        self._system = fs.LocalFileSystem() if self._is_local else open_store(self.place)
        self._root = f"{self.place}/" if self._is_local else ""

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Return ``{path: bytes}`` of every file in a folder, the folders in it included."""
        start = f"{self._root}{folder}".rstrip("/")
        found = self._system.get_file_info(fs.FileSelector(start, allow_not_found=True, recursive=True))
        return {
            info.path.removeprefix(self._root): info.size for info in found if info.type == fs.FileType.File
        }

    def has(self, path: str) -> bool:
        """True where a file is at the path."""
        return bool(self._system.get_file_info(self._root + path).type == fs.FileType.File)

    def read(self, path: str) -> bytes:
        """Return a file's bytes. Raises LakeError where it is not there."""
        with self._open(path) as stream:
            return bytes(stream.read())

    def write(self, path: str, chunks: Iterable[bytes]) -> int:
        """Put a file there, in place of an older one; return how many bytes it has.

        Raises CommitConflict where somebody else who copies to the place, or erases, tidied it up meanwhile.
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
            self._put_in_place(written, path)
        return size

    def create(self, path: str, content: bytes) -> None:
        """Put a new file there, a whole one or none. Raises CommitConflict as ``write`` does."""
        if not self._is_local:
            self._objects.put(path, content)
            return
        half = path + HALF
        try:
            opened = self._open_new(half)
        except FileNotFoundError:  # the first one of a partition
            self._make_folder(path)
            opened = self._open_new(half)
        try:
            with opened as stream:
                stream.write(content)
            self._put_in_place(half, path)
        except OSError:  # the disk is full, say
            with contextlib.suppress(OSError):
                self.delete([half])
            raise

    @property
    def at_once(self) -> int:
        """How many files it is worth creating at once: a store makes one wait, a disk does not."""
        return CORES if self._is_local else UPLOADS

    @cached_property
    def _objects(self) -> Any:
        # A lake on a disk does without.
        from obstore.store import from_url

        return from_url(self.place)

    def copy(self, source: "Files", path: str) -> int:
        """Copy one file to the same path here; return how many bytes it has."""
        with source._open(path) as stream:
            return self.write(path, iter(lambda: stream.read(CHUNK), b""))

    def delete(self, paths: Iterable[str]) -> None:
        """Delete the files."""
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                self._system.delete_file(self._root + path)

    def tidy(self) -> None:
        """Delete what copies that were killed left aside."""
        if self._is_local:
            self.delete(self.sizes(ASIDE))
            with contextlib.suppress(OSError):
                os.rmdir(self._root + ASIDE)

    def _put_in_place(self, written: str, path: str) -> None:
        try:
            self._system.move(self._root + written, self._root + path)
        except FileNotFoundError:
            raise CommitConflict(
                f"{self.place}: somebody else tidied this place up meanwhile; run it again"
            ) from None

    def _open(self, path: str) -> Any:
        try:
            return self._system.open_input_stream(self._root + path, compression=None)
        except FileNotFoundError:
            raise LakeError(f"{self.place}/{path}: no such file, though it belongs there") from None

    def _open_new(self, path: str) -> Any:
        if self._is_local:
            return self._system.open_output_stream(self._root + path, compression=None)
        from obstore import open_writer

        return open_writer(self._objects, path)

    def _make_folder(self, path: str) -> None:
        os.makedirs((self._root + path).rpartition("/")[0], exist_ok=True)
