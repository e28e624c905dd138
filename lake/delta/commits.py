"""Commits: the live files of a table version, their statistics, and the commit that adds or replaces some."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import unquote

import msgspec
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.transaction import AddAction, RemoveAction

from lake.delta import log_entry
from lake.delta.durability import seal, sync_files

# No retries: Delta would retry on top of a newer head; this way a commit fails if the head is newer.
PINNED = CommitProperties(max_commit_retries=0)

# A filter of partitions in the form of delta-rs: column, comparison, values.
Partitions = list[tuple[str, str, list[str]]]
# A statistic of one file by column, such as the least value.
Values = Mapping[str, Any]


class LiveFile(msgspec.Struct, frozen=True):
    """A data file of a table version, with the statistics that the log has of it.

    ``path`` is relative to the table's folder, ``size`` is in bytes, and ``partition`` is the text of
    its partition columns. ``least`` and ``greatest`` omit a column if the log has no such value.
    """

    path: str
    size: int
    rows: int
    partition: Mapping[str, str]
    nulls: Mapping[str, int]
    least: Values
    greatest: Values

    def add_action(self, at: int, *, is_change: bool) -> AddAction:
        """Return the action that adds the file to a table; ``at`` is in milliseconds since 1970.

        ``is_change`` is False if the rows were in other files before.
        """
        return AddAction(self.path, self.size, self.partition, at, is_change, self.statistics)

    @property
    def statistics(self) -> str:
        """The statistics as JSON text, in the form of Delta's log."""
        statistics = {
            "numRecords": self.rows,
            "minValues": {name: logged(value) for name, value in self.least.items()},
            "maxValues": {name: logged(value) for name, value in self.greatest.items()},
            "nullCount": self.nulls,
        }
        return msgspec.json.encode(statistics).decode()

    def remove_action(self, at: int) -> RemoveAction:
        """Return the action that removes the file after its rows moved to another one; ``at`` as above."""
        return RemoveAction(self.path, False, at, self.size, dict(self.partition))


def read_live(delta: DeltaTable) -> list[LiveFile]:
    """Return the files of the open version, the oldest first."""
    actions = pa.table(delta.get_add_actions(flatten=True)).sort_by("modification_time")
    return [as_file(row) for row in actions.to_pylist()]


def live_files(delta: DeltaTable) -> dict[str, int]:
    """Return ``{path: bytes}`` of the files of the open version."""
    actions = pa.table(delta.get_add_actions(flatten=True))
    paths = map(unquote, actions["path"].to_pylist())
    return dict(zip(paths, actions["size_bytes"].to_pylist(), strict=True))


def commit_files(
    delta: DeltaTable,
    added: Iterable[LiveFile],
    *,
    gone: Sequence[LiveFile] = (),
    mode: str = "append",
    among: Partitions | None = None,
    schema: pa.Schema | None = None,
    is_durable: bool = True,
) -> None:
    """Commit files on top of the open version, and remove the files ``gone``, whose rows they contain.

    If ``mode`` is overwrite, they replace all files, or all files of the partitions ``among``; then the
    table may get another ``schema``. On a disk the commit and its files are synced, if ``is_durable``,
    when this returns. Raises CommitFailedError if another process committed since, and DeltaError. After
    a DeltaError the commit may still exist: its response may be lost, or only its checkpoint may have
    failed.
    """
    at = int(datetime.now(UTC).timestamp() * 1000)
    added = list(added)
    actions: list[AddAction | RemoveAction] = [
        *(file.add_action(at, is_change=not gone) for file in added),
        *(file.remove_action(at) for file in gone),
    ]
    partition_by = delta.metadata().partition_columns
    removed = [file.path for file in gone] if mode == "append" else replaced(delta, among)
    version = delta.version() + 1
    stated = evidence_of(version, added, removed)
    if schema is not None and has_other_columns(delta, schema):
        stated |= columns_of(schema, partition_by, delta.metadata().configuration)
    pinned = CommitProperties(max_commit_retries=0, custom_metadata=stated)
    place = folder_of(delta)
    if place and is_durable:
        sync_files(place, [file.path for file in added])
    delta.create_write_transaction(
        actions, mode, schema or delta.schema(), partition_by, among, commit_properties=pinned
    )
    if place:
        seal(place, version, is_durable=is_durable)


def has_other_columns(delta: DeltaTable, schema: pa.Schema) -> bool:
    """Return True if a table has another schema, so that a commit states the new one."""
    own, new = (msgspec.json.decode(each.to_json()) for each in (delta.schema(), Schema.from_arrow(schema)))
    return bool(own != new)


def evidence_of(version: int, added: Iterable[LiveFile], removed: Collection[str]) -> dict[str, str]:
    """Return what a commit states of itself, and of the files that it adds and removes. Pure."""
    files = [log_entry.Action(file.path, file.size, file.statistics, file.partition) for file in added]
    return log_entry.evidence(version, files, removed)


def columns_of(
    schema: pa.Schema, partition_by: Iterable[str], configuration: Mapping[str, str]
) -> dict[str, str]:
    """Return what a commit states of new columns, partitions and properties. Pure."""
    return log_entry.columns_evidence(Schema.from_arrow(schema).to_json(), partition_by, configuration)


def replaced(delta: DeltaTable, among: Partitions | None) -> list[str]:
    """Return the paths that an overwrite of all partitions, or of those in ``among``, removes."""
    actions = pa.table(delta.get_add_actions(flatten=True))
    for column, _, values in (among or ()) if len(actions) else ():
        own = [logged(value) in values for value in actions[f"partition.{column}"].to_pylist()]
        actions = actions.filter(pa.array(own, pa.bool_()))
    return list(map(unquote, actions["path"].to_pylist()))


def folder_of(delta: DeltaTable) -> str | None:
    """Return the table's folder; None if it is in an object store."""
    # A URI escapes spaces and other characters; paths do not.
    uri = unquote(delta.table_uri).removeprefix("file://").rstrip("/")
    return None if "://" in uri else uri


def as_file(row: Mapping[str, Any]) -> LiveFile:
    """Return the file that a row of Delta's flattened add actions describes. Pure."""
    groups: dict[str, dict[str, Any]] = {"partition": {}, "null_count": {}, "min": {}, "max": {}}
    for name, value in row.items():
        group, _, column = name.partition(".")
        if column and value is not None:
            groups[group][column] = value
    partition = {name: logged(value) for name, value in groups["partition"].items()}
    return LiveFile(
        unquote(row["path"]),
        row["size_bytes"],
        row["num_records"],
        partition,
        groups["null_count"],
        groups["min"],
        groups["max"],
    )


def in_place_of(files: Sequence[LiveFile], *, path: str, size: int) -> LiveFile:
    """Return the file that replaces several files of one partition and contains their rows. Pure.

    It has the statistics of a column only if each of the files has them.
    """
    assert all(file.partition == files[0].partition for file in files), "the files are of several partitions"
    nulls = common_nulls(files)
    known = [name for name in nulls if all(is_known(file, name) for file in files)]
    return LiveFile(
        path,
        size,
        sum(file.rows for file in files),
        files[0].partition,
        nulls,
        bounds(min, known, [file.least for file in files]),
        bounds(max, known, [file.greatest for file in files]),
    )


def common_nulls(files: Sequence[LiveFile]) -> dict[str, int]:
    """Return the number of nulls, over all files, of each column that every file counts. Pure."""
    counts = [file.nulls for file in files]
    return {
        name: sum(count[name] for count in counts) for name in counts[0] if all(name in c for c in counts)
    }


def bounds(choose: Callable[[list[Any]], Any], names: Iterable[str], values: Sequence[Values]) -> Values:
    """Return the least or greatest of the files' values for each column that has one. Pure."""
    columns = {name: [file[name] for file in values if name in file] for name in names}
    return {name: choose(column) for name, column in columns.items() if column}


def is_known(file: LiveFile, name: str) -> bool:
    """True if the log has the least and the greatest value of a column, or all its values are null. Pure."""
    return (name in file.least and name in file.greatest) or file.nulls[name] == file.rows


def logged(value: Any) -> Any:
    """Return a value in the form of Delta's log; an instant is truncated to milliseconds. Pure."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else value
