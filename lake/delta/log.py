"""Actions: what the log says of the live files of a version, by which files are found and passed over."""

import re
from collections import Counter
from datetime import date
from typing import Any
from urllib.parse import unquote

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

PART = re.compile(r"/(?:month|week)=(\d{4}-\d\d-\d\d)/")


class DataFile(msgspec.Struct, frozen=True):
    """One live Parquet file of a version: absolute place, rows, bytes."""

    uri: str
    rows: int
    size: int

    @property
    def part(self) -> date | None:
        """The first day of the month, or week, whose rows are in it; None in a table without such parts."""
        match = PART.search(self.uri)
        return date.fromisoformat(match[1]) if match else None


class Actions:
    """The add actions of the version that a table holds, a row each; ``place`` is the table's folder."""

    def __init__(self, delta: DeltaTable, place: str) -> None:
        self._rows = pa.table(delta.get_add_actions(flatten=True))
        self._place = place

    def files(self) -> list[DataFile]:
        """Return the live files."""
        rows, size = self._rows["num_records"].to_pylist(), self._rows["size_bytes"].to_pylist()
        return [
            DataFile(uri=uri, rows=count or 0, size=length or 0)
            for uri, count, length in zip(self._uris(), rows, size, strict=True)
        ]

    def spans(self, column: str) -> dict[str, tuple[int, int]]:
        """Return, by their places, the least and the greatest value of a column in each file that says so."""
        low, high = f"min.{column}", f"max.{column}"
        if not {low, high} <= set(self._rows.column_names):
            return {}
        ends = zip(self._uris(), self._rows[low].to_pylist(), self._rows[high].to_pylist(), strict=True)
        return {uri: (least, most) for uri, least, most in ends if least is not None and most is not None}

    def maximum(self, column: str) -> object:
        """Return the greatest value of a column; None where no file says one."""
        name = f"max.{column}"
        is_told = name in self._rows.column_names and len(self._rows)
        return pc.max(self._rows[name]).as_py() if is_told else None

    def counts(self, column: str) -> dict[Any, int] | None:
        """Return how many rows have each value of a column; None where a file has two, or does not say."""
        ends = [f"min.{column}", f"max.{column}"]
        if not set(ends) <= set(self._rows.column_names):
            return None
        found: Counter[Any] = Counter()
        files = self._rows.select([*ends, f"null_count.{column}", "num_records"]).to_pylist()
        for least, greatest, nulls, rows in (file.values() for file in files):
            if least is None or least != greatest or nulls:
                return None
            found[least] += rows
        return dict(found)

    def _uris(self) -> list[str]:
        return [f"{self._place}/{unquote(path)}" for path in self._rows["path"].to_pylist()]
