"""Mount: an object store as a file system of DuckDB, which reads none by itself without an extension.

So ``read_parquet`` is the one way to read rows, wherever the lake is: only the columns
and row groups asked for travel. A data file of a Delta table never changes once it is
written, which is why DuckDB may keep what it has read of one.
"""

import threading
from datetime import UTC, datetime
from typing import Any

import pyarrow.fs as pafs
from fsspec import AbstractFileSystem

from lake.paths import open_store

NEVER = datetime(2000, 1, 1, tzinfo=UTC)


class Mount(AbstractFileSystem):  # type: ignore[misc]  # fsspec ships no types
    """The stores of one scheme, read-only, under the names that DuckDB's Python client calls."""

    cachable = False

    def __init__(self, scheme: str) -> None:
        super().__init__()
        self.protocol = scheme
        self._stores: dict[str, pafs.FileSystem] = {}
        self._sizes: dict[str, int] = {}

    def open(self, path: str, mode: str = "rb", **_: Any) -> "RangeReader":
        """Open a file to read parts of it. Raises FileNotFoundError."""
        if mode != "rb":
            raise PermissionError(f"{path}: a lake's files are written by Delta alone")
        file = self._open(path)
        return RangeReader(path, file, self._sizes[path])

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return a file's name and size in bytes. Raises FileNotFoundError."""
        # DuckDB asks often, and every answer would be a request.
        if path not in self._sizes:
            self._open(path).close()
        return {"name": path, "size": self._sizes[path], "type": "file"}

    def glob(self, path: str, **_: Any) -> list[str]:
        """Return the path: what is read here is always named in full."""
        return [path]

    def modified(self, path: str) -> datetime:
        """Return the same instant for every file: none ever changes."""
        return NEVER

    def _open(self, path: str) -> Any:
        """Open a file as Arrow does, and remember its size."""
        bucket, _, key = path.partition("://")[2].partition("/")
        if bucket not in self._stores:
            self._stores[bucket] = open_store(f"{self.protocol}://{bucket}")
        file = self._stores[bucket].open_input_file(key)
        self._sizes[path] = file.size()
        return file


class RangeReader:
    """A file in a store. DuckDB's threads share it, so each has a place of its own in it."""

    def __init__(self, path: str, file: Any, size: int) -> None:
        self._path = path
        self._file = file
        self._size = size
        self._mine = threading.local()
        self._lock = threading.Lock()

    def seek(self, place: int) -> None:
        """Go to a place, for this thread."""
        self._mine.place = place

    def tell(self) -> int:
        """Return this thread's place."""
        return int(getattr(self._mine, "place", 0))

    def read(self, count: int) -> bytes:
        """Return the bytes at this thread's place. Raises OSError where the store sends fewer."""
        place = self.tell()
        with self._lock:
            self._file.seek(place)
            found = bytes(self._file.read(count))
        # DuckDB would take the rest of its buffer for the file's content.
        if len(found) != max(min(count, self._size - place), 0):
            raise OSError(f"{self._path}: {len(found)} of {count} bytes arrived at {place}")
        self._mine.place = place + len(found)
        return found

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
