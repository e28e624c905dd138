"""Object store: a file system that lets DuckDB read an object store without an extension.

With it, ``read_parquet`` reads every lake, and only the needed columns and row groups are
downloaded. DuckDB may cache what it has read, because a data file of a Delta table never changes.
"""

import threading
from datetime import UTC, datetime
from typing import Any

import pyarrow.fs as pafs
from fsspec import AbstractFileSystem

from lake.paths import open_store

NEVER = datetime(2000, 1, 1, tzinfo=UTC)


class Mount(AbstractFileSystem):  # type: ignore[misc]  # fsspec ships no types
    """The object stores of one URI scheme, read-only, with the methods that DuckDB's Python client calls."""

    cachable = False

    def __init__(self, scheme: str) -> None:
        super().__init__()
        self.protocol = scheme
        self._stores: dict[str, pafs.FileSystem] = {}
        self._sizes: dict[str, int] = {}

    def open(self, path: str, mode: str = "rb", **_: Any) -> "RangeReader":
        """Open a file for reads of byte ranges. Raises FileNotFoundError; PermissionError for other modes."""
        if mode != "rb":
            raise PermissionError(f"{path} is read-only: only commits to Delta tables write files")
        file = self._open(path)
        return RangeReader(path, file, self._sizes[path])

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return a file's name and size in bytes. Raises FileNotFoundError."""
        # DuckDB asks for it often, and each request costs a round trip.
        if path not in self._sizes:
            self._open(path).close()
        return {"name": path, "size": self._sizes[path], "type": "file"}

    def glob(self, path: str, **_: Any) -> list[str]:
        """Return the path itself: sessions always pass full paths."""
        return [path]

    def modified(self, path: str) -> datetime:
        """Return the same instant for every file, because no file ever changes."""
        return NEVER

    def _open(self, path: str) -> Any:
        """Open a file with Arrow, and remember its size."""
        bucket, _, key = path.partition("://")[2].partition("/")
        if bucket not in self._stores:
            self._stores[bucket] = open_store(f"{self.protocol}://{bucket}")
        file = self._stores[bucket].open_input_file(key)
        self._sizes[path] = file.size()
        return file


class RangeReader:
    """A file in an object store. DuckDB's threads share it, so each thread has an offset of its own."""

    def __init__(self, path: str, file: Any, size: int) -> None:
        self._path = path
        self._file = file
        self._size = size
        self._local = threading.local()
        self._lock = threading.Lock()

    def seek(self, offset: int) -> None:
        """Set this thread's offset."""
        self._local.offset = offset

    def tell(self) -> int:
        """Return this thread's offset, in bytes."""
        return int(getattr(self._local, "offset", 0))

    def read(self, count: int) -> bytes:
        """Return up to ``count`` bytes from this thread's offset. Raises OSError if fewer arrive."""
        offset = self.tell()
        with self._lock:
            self._file.seek(offset)
            content = bytes(self._file.read(count))
        # After a short read, DuckDB would use the rest of its buffer as the file's content.
        if len(content) != max(min(count, self._size - offset), 0):
            raise OSError(f"{self._path}: received {len(content)} of {count} bytes at offset {offset}")
        self._local.offset = offset + len(content)
        return content

    def close(self) -> None:
        """Close the file."""
        self._file.close()
