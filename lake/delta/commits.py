"""Live: the files that a version of a table consists of, with all that its log says of each; their commit."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import unquote

import msgspec
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable
from deltalake.transaction import AddAction, RemoveAction

# Refuses when the version held is no longer the head, where Delta would retry on top of it.
PINNED = CommitProperties(max_commit_retries=0)

# Which partitions, as delta-rs asks: column, comparison, values.
Partitions = list[tuple[str, str, list[str]]]
# One value of a column in a file: as Delta writes it into its log.
Told = Mapping[str, Any]


class LiveFile(msgspec.Struct, frozen=True):
    """A file by its path in the table's folder: bytes, rows, what its folder says, and its columns' values.

    A column whose least and greatest value the log does not say is not in ``least`` and ``greatest``.
    """

    path: str
    size: int
    rows: int
    partition: Mapping[str, str]
    nulls: Mapping[str, int]
    least: Told
    greatest: Told

    def added(self, at: int, *, is_change: bool) -> AddAction:
        """Return the action that puts it into a table; ``at`` in milliseconds.

        It ``is_change`` unless others held its rows before.
        """
        statistics = {
            "numRecords": self.rows,
            "minValues": {name: spelled(value) for name, value in self.least.items()},
            "maxValues": {name: spelled(value) for name, value in self.greatest.items()},
            "nullCount": self.nulls,
        }
        said = msgspec.json.encode(statistics).decode()
        return AddAction(self.path, self.size, self.partition, at, is_change, said)

    def removed(self, at: int) -> RemoveAction:
        """Return the action that takes it out where another holds its rows; ``at`` in milliseconds."""
        return RemoveAction(self.path, False, at, self.size, dict(self.partition))


def read_live(delta: DeltaTable) -> list[LiveFile]:
    """Return the files of the version held, the oldest first."""
    found = pa.table(delta.get_add_actions(flatten=True)).sort_by("modification_time")
    return [as_file(row) for row in found.to_pylist()]


def live_files(delta: DeltaTable) -> dict[str, int]:
    """Return bytes by path of the files of the version held."""
    found = pa.table(delta.get_add_actions(flatten=True))
    return dict(zip(map(unquote, found["path"].to_pylist()), found["size_bytes"].to_pylist(), strict=True))


def commit_files(
    delta: DeltaTable,
    added: Iterable[LiveFile],
    *,
    gone: Sequence[LiveFile] = (),
    mode: str = "append",
    among: Partitions | None = None,
) -> None:
    """Commit files on the very version held; those ``gone`` are files whose rows they hold.

    ``mode`` overwrite puts them in place of all files, or of those ``among`` some partitions. Raises
    CommitFailedError where others committed since, DeltaError; it may be made for all that: its answer
    may be lost, or no checkpoint written.
    """
    at = int(datetime.now(UTC).timestamp() * 1000)
    actions: list[AddAction | RemoveAction] = [
        *(file.added(at, is_change=not gone) for file in added),
        *(file.removed(at) for file in gone),
    ]
    partition_by = delta.metadata().partition_columns
    delta.create_write_transaction(
        actions, mode, delta.schema(), partition_by, among, commit_properties=PINNED
    )


def as_file(row: Mapping[str, Any]) -> LiveFile:
    """Return a file as Delta's table of actions has it. Pure."""
    said: dict[str, dict[str, Any]] = {"partition": {}, "null_count": {}, "min": {}, "max": {}}
    for name, value in row.items():
        group, _, column = name.partition(".")
        if column and value is not None:
            said[group][column] = value
    partition = {name: spelled(value) for name, value in said["partition"].items()}
    return LiveFile(
        unquote(row["path"]),
        row["size_bytes"],
        row["num_records"],
        partition,
        said["null_count"],
        said["min"],
        said["max"],
    )


def in_place_of(files: Sequence[LiveFile], *, path: str, size: int) -> LiveFile:
    """Return the file that holds the rows of several, all of one partition. Pure.

    Of a column it says what they said, if all of them did.
    """
    assert all(file.partition == files[0].partition for file in files), "what a folder says is not in them"
    nulls = {
        name: sum(file.nulls[name] for file in files)
        for name in files[0].nulls
        if all(name in file.nulls for file in files)
    }
    known = [name for name in nulls if all(is_known(file, name) for file in files)]
    least = {name: [file.least[name] for file in files if name in file.least] for name in known}
    greatest = {name: [file.greatest[name] for file in files if name in file.greatest] for name in known}
    return LiveFile(
        path,
        size,
        sum(file.rows for file in files),
        files[0].partition,
        nulls,
        {name: min(values) for name, values in least.items() if values},
        {name: max(values) for name, values in greatest.items() if values},
    )


def is_known(file: LiveFile, name: str) -> bool:
    """True where a file says of a column what values it has, or that it has none. Pure."""
    return (name in file.least and name in file.greatest) or file.nulls[name] == file.rows


def spelled(value: Any) -> Any:
    """Return a value as Delta's log has it; instants are cut to the millisecond. Pure."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else value
