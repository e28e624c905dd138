"""Actions: the add actions of a table version, with the statistics that tell which files a read can skip."""

import re
from collections import Counter
from datetime import date
from hashlib import blake2b
from typing import Any
from urllib.parse import unquote

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

PART = re.compile(r"/(?:month|week)=(\d{4}-\d\d-\d\d)/")


class DataFile(msgspec.Struct, frozen=True):
    """One live Parquet file of a version: absolute path or URI, rows, bytes."""

    uri: str
    rows: int
    size: int

    @property
    def part(self) -> date | None:
        """The first day of the partition, a month or week; None if the table has no such partitions."""
        match = PART.search(self.uri)
        return date.fromisoformat(match[1]) if match else None


class Actions:
    """The add actions of the open version of a table, one row a file; ``place`` is the table's folder."""

    def __init__(self, delta: DeltaTable, place: str) -> None:
        self._rows = pa.table(delta.get_add_actions(flatten=True))
        self._place = place

    def files(self) -> list[DataFile]:
        """Return the live files."""
        counts, sizes = self._rows["num_records"].to_pylist(), self._rows["size_bytes"].to_pylist()
        return [
            DataFile(uri=uri, rows=count or 0, size=size or 0)
            for uri, count, size in zip(self._uris(), counts, sizes, strict=True)
        ]

    def spans(self, column: str) -> dict[str, tuple[int, int]]:
        """Return ``{uri: (least, greatest)}`` of a column, for each file that has both in its statistics."""
        low, high = f"min.{column}", f"max.{column}"
        if not {low, high} <= set(self._rows.column_names):
            return {}
        ends = zip(self._uris(), self._rows[low].to_pylist(), self._rows[high].to_pylist(), strict=True)
        return {uri: (least, most) for uri, least, most in ends if least is not None and most is not None}

    def maximum(self, column: str) -> object:
        """Return the greatest value of a column; None if no file has it in its statistics."""
        name = f"max.{column}"
        has_values = name in self._rows.column_names and len(self._rows)
        return pc.max(self._rows[name]).as_py() if has_values else None

    def counts(self, column: str) -> dict[Any, int] | None:
        """Return ``{value: rows}`` of a column; None if a file has several values or no statistics of it."""
        ends = [f"min.{column}", f"max.{column}"]
        if not set(ends) <= set(self._rows.column_names):
            return None
        counts: Counter[Any] = Counter()
        files = self._rows.select([*ends, f"null_count.{column}", "num_records"]).to_pylist()
        for least, greatest, nulls, rows in (file.values() for file in files):
            if least is None or least != greatest or nulls:
                return None
            counts[least] += rows
        return dict(counts)

    def digest(self) -> str:
        """Return the digest of the files' paths, sizes, rows and partitions, as 16 hexadecimal digits."""
        names = [name for name in self._rows.column_names if name.startswith("partition.")]
        columns = [self._rows[name].to_pylist() for name in ("path", "size_bytes", "num_records", *names)]
        files = sorted((unquote(path), *map(str, facts)) for path, *facts in zip(*columns, strict=True))
        return blake2b(msgspec.json.encode([names, files]), digest_size=8).hexdigest()

    def _uris(self) -> list[str]:
        return [f"{self._place}/{unquote(path)}" for path in self._rows["path"].to_pylist()]
