"""Table: one Delta table, and the operations on it.

An append commits after concurrent appends. A replacement commits on top of the version that it was
computed from, and is refused if another process committed since. The schema is compared before
every write, because Delta casts silently: 1.5 in a BIGINT column becomes 1.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from lake.delta.commits import (
    PINNED,
    LiveFile,
    Partitions,
    commit_files,
    folder_of,
    live_files,
    read_live,
)
from lake.delta.contract import breaks
from lake.delta.damage import refuse_damage
from lake.delta.durability import seal, sync_files
from lake.delta.feed import appended_ids
from lake.delta.log import Actions, DataFile
from lake.delta.log_check import settle
from lake.delta.properties import statistics
from lake.delta.writer import Staged, missing, stage
from lake.errors import CommitConflict, ContractBroken

# Commits after which a handle opens its table again. An updated handle grows by 130 kB with each commit,
# and becomes slower.
REOPEN = 20
# Attempts of an append to commit after other processes, before it gives up.
TRIES = 50


class Table:
    """A Delta table, opened at one version; its commits on a disk are synced if ``is_durable``.

    If ``is_read_only``, no method changes a file.
    """

    def __init__(
        self, name: str, delta: DeltaTable, *, is_durable: bool = True, is_read_only: bool = False
    ) -> None:
        self.name = name
        self._delta = delta
        self._is_durable = is_durable
        self._is_read_only = is_read_only
        self._cached_actions: tuple[int, Actions] | None = None
        self._commits = 0

    @property
    def version(self) -> int:
        """Delta's number of the open version."""
        return int(self._delta.version())

    @property
    def schema(self) -> pa.Schema:
        """The table's columns and types, partition columns included."""
        return pa.schema(self._delta.schema().to_arrow())

    @property
    def partition_by(self) -> list[str]:
        """The partition columns; each of their values is a folder."""
        return list(self._delta.metadata().partition_columns)

    @property
    def place(self) -> str:
        """The table's folder: a path, or a URI of an object store."""
        # A URI escapes spaces and other characters. Paths, and URIs in DuckDB, do not.
        return unquote(self._delta.table_uri).removeprefix("file://").rstrip("/")

    def files(self) -> list[DataFile]:
        """Return the live files of the open version."""
        return self._actions().files()

    def digest(self) -> str:
        """Return the digest of the live files: equal digests mean equal rows, as a file never changes."""
        return self._actions().digest()

    def uris(self) -> set[str]:
        """Return the paths or URIs of the live files, equal to those of ``files``, without statistics."""
        written = self._delta.table_uri.removeprefix("file://").rstrip("/")
        return {unquote(written) + uri.removeprefix(written) for uri in self._delta.file_uris()}

    def refresh(self) -> None:
        """Open the newest version. Raises TableDamaged."""
        version = None
        if folder := folder_of(self._delta):
            version = settle(self.name, folder, is_durable=self._is_durable, is_read_only=self._is_read_only)
        if version is None:
            self._delta.update_incremental()
        else:
            self._delta.load_as_version(version)

    def spans(self, column: str) -> dict[str, tuple[int, int]]:
        """Return ``{uri: (least, greatest)}`` of a column, for each file that has both in its statistics."""
        return self._actions().spans(column)

    def appended(self, column: str, *, after: int) -> set[int]:
        """Return the ids in a column of all rows appended after version ``after``, up to the open version.

        Raises TableDamaged if the log ends before ``after``, or an entry or a file of such rows is damaged.
        """
        return appended_ids(self.name, self._delta, column, after=after)

    def maximum(self, column: str) -> object:
        """Return the greatest value of a column from the log's statistics; None if there are no rows.

        An instant is truncated to milliseconds, as in Delta's statistics.
        """
        return self._actions().maximum(column)

    def counts(self, column: str) -> dict[Any, int]:
        """Return ``{value: rows}`` of a column; rows are read only if a file has several values."""
        counts = self._actions().counts(column)
        return dict(Counter(self.read([column])[column].to_pylist())) if counts is None else counts

    def read(self, columns: Sequence[str] | None = None, where: pc.Expression | None = None) -> pa.Table:
        """Return the rows that match ``where``; a file is skipped if its statistics exclude all its rows.

        Raises TableDamaged if one of the files is damaged.
        """
        refuse_damage(self.name, self.uris())
        dataset = self._delta.to_pyarrow_dataset()
        return dataset.to_table(columns=list(columns) if columns else None, filter=where, use_threads=False)

    def stage(self, rows: pa.Table) -> Staged:
        """Write rows into files; readers see them only after a commit adds them.

        Raises ContractBroken if the rows' schema is not the table's, or a promised value is missing;
        CommitConflict if erasures delete unfinished files during every attempt.
        """
        self._guard(rows.schema, missing(rows))
        return stage(self.name, self.place, rows, partition_by=self.partition_by)

    def append(self, rows: pa.Table | Staged) -> int:
        """Add rows and return the new version; if there are no rows, commit nothing.

        Raises CommitConflict if other processes commit during every attempt, and as ``stage`` does.
        """
        staged = rows if isinstance(rows, Staged) else self.stage(rows)
        if not staged.files:
            return self.version
        for left in reversed(range(TRIES)):
            version = self.version
            try:
                self._commit(staged.files)
                break
            except CommitFailedError:
                if not left:
                    raise self.conflict("other processes kept committing") from None
                self._delta.update_incremental()
            except DeltaError:  # after hours, the log's clean-up has removed commits after the open version
                self._delta.update_incremental()
                if self.version == version or not left:
                    raise
            self._guard_staged(staged)
        self._open_version(version + 1)
        return self.version

    def replace(self, rows: pa.Table | Staged, parts: Sequence[date] | None = None) -> int:
        """Replace all rows, or all rows of the partitions ``parts``, by ``rows``; return the new version.

        A partition is the first day of a month or of a week. Raises CommitConflict if the open version
        is no longer the head, ContractBroken if a row is in no partition of ``parts``, and as ``stage`` does.
        """
        staged = rows if isinstance(rows, Staged) else self.stage(rows)
        self._guard_staged(staged)
        among: Partitions | None = None
        if parts is not None:
            [part] = self.partition_by
            days = [day.isoformat() for day in parts]
            among = [(part, "in", days)]
            if others := {file.partition[part] for file in staged.files}.difference(days):
                raise ContractBroken(
                    f"{self.name}: {part} {min(others)} is not among the partitions to replace"
                )
        return self._commit_pinned(staged.files, mode="overwrite", among=among)

    def redefine(self, rows: pa.Table, *, partition_by: Sequence[str] = ()) -> int:
        """Replace all rows, the columns and the partitioning of the table; return the new version.

        Older versions keep their columns and partitioning. A change of the partitioning takes two commits;
        the version between them has no rows. Raises CommitConflict as ``replace`` does.
        """
        staged = stage(self.name, self.place, rows, partition_by=partition_by)
        properties = statistics(rows.schema, partition_by)
        if properties.items() - self._delta.metadata().configuration.items():
            with self._refuse_conflict():
                self._delta.alter.set_table_properties(properties, commit_properties=PINNED)
            self._seal()
        if self.partition_by != list(partition_by):
            with self._refuse_conflict():
                write_deltalake(
                    self._delta,
                    rows.slice(0, 0),
                    mode="overwrite",
                    schema_mode="overwrite",
                    partition_by=list(partition_by),
                    commit_properties=PINNED,
                )
            self._seal()
        return self._commit_pinned(staged.files, mode="overwrite", schema=rows.schema)

    def append_pinned(self, rows: pa.Table | Staged) -> int:
        """Append to the open version and return the new one.

        Raises CommitConflict if the open version is no longer the head, and as ``stage`` does.
        """
        staged = rows if isinstance(rows, Staged) else self.stage(rows)
        self._guard_staged(staged)
        return self._commit_pinned(staged.files)

    def partitions(self, column: str) -> set[str]:
        """Return the values of a partition column, as its folders spell them."""
        return {str(partition[column]) for partition in self._delta.partitions()}

    def delete(self, where: str) -> None:
        """Delete rows by a SQL condition. Raises CommitConflict if a concurrent commit conflicts."""
        with self._refuse_conflict():
            self._delta.delete(where)
        self._seal()

    def live_file(self, path: str) -> LiveFile | None:
        """Return a live file of the open version by its path in the table's folder; None if it has none."""
        return next((file for file in read_live(self._delta) if file.path == path), None)

    def drop_file(self, file: LiveFile) -> int:
        """Remove a live file, and report no change of rows; return the new version. Raises CommitConflict."""
        with self._refuse_conflict():
            commit_files(self._delta, [], gone=[file], is_durable=self._is_durable)
        return self.version

    def restore(self, version: int) -> int:
        """Commit the content of an older version as a new version; return its number."""
        with self._refuse_conflict():
            self._delta.restore(version, commit_properties=PINNED)
        self._seal()
        return self.version

    def _actions(self) -> Actions:
        """Return the add actions of the open version; the log is read once a version."""
        if self._cached_actions is None or self._cached_actions[0] != self.version:
            self._cached_actions = self.version, Actions(self._delta, self.place)
        return self._cached_actions[1]

    def _commit_pinned(self, files: Sequence[LiveFile], **options: Any) -> int:
        """Commit files on top of the open version; return the new one. Raises CommitConflict."""
        version = self.version
        with self._refuse_conflict():
            self._commit(files, **options)
        self._open_version(version + 1)
        return self.version

    def _commit(
        self,
        files: Sequence[LiveFile],
        *,
        mode: str = "append",
        among: Partitions | None = None,
        schema: pa.Schema | None = None,
    ) -> None:
        """Commit files on top of the open version; see ``commit_files``."""
        if self._commits >= REOPEN:
            self._delta = DeltaTable(self._delta.table_uri, version=self.version)
            self._commits = 0
        try:
            commit_files(
                self._delta, files, mode=mode, among=among, schema=schema, is_durable=self._is_durable
            )
        except DeltaError:
            # The commit may have succeeded although its response was lost.
            if not self._has(self.version + 1, files):
                raise
            if folder := folder_of(self._delta):
                seal(folder, self.version + 1, is_durable=self._is_durable)

    def _seal(self) -> None:
        """Sync the open version, which delta-rs wrote with its files in one step, and seal it.

        Until then a power cut can leave its entry without its files. No release references such a version.
        """
        folder = folder_of(self._delta)
        if folder and self._is_durable:
            sync_files(folder, live_files(self._delta))
        if folder:
            seal(folder, self.version, is_durable=self._is_durable)

    def _open_version(self, version: int) -> None:
        """Open the version just committed; the head may be another process's by now."""
        self._delta.load_as_version(version)
        self._commits += 1

    def _has(self, version: int, files: Sequence[LiveFile]) -> bool:
        """True if a version contains the files, and there is at least one."""
        with suppress(DeltaError):
            paths = live_files(DeltaTable(self._delta.table_uri, version=version)).keys()
            return bool(files) and {file.path for file in files} <= paths
        return False

    @contextmanager
    def _refuse_conflict(self) -> Iterator[None]:
        """Raise CommitConflict if another process has committed since the open version."""
        try:
            yield
        except CommitFailedError:
            raise self.conflict("another process committed") from None

    def conflict(self, cause: str) -> CommitConflict:
        """Return the error for a head that changed since the open version was read."""
        return CommitConflict(
            f"{self.name}: {cause} after version {self.version} was read; nothing was written, run it again"
        )

    def _guard_staged(self, staged: Staged) -> None:
        """Raise ContractBroken if the files do not fit the open version, which may have changed."""
        self._guard(staged.schema, staged.missing)
        if self.partition_by != staged.partition_by:
            raise ContractBroken(
                f"{self.name}: its partitioning changed after the files were written; run it again"
            )

    def _guard(self, schema: pa.Schema, nulls: Mapping[str, int]) -> None:
        """Raise ContractBroken if the schema is not the table's, or a column lacks a promised value."""
        if differences := breaks(schema, self.schema):
            raise ContractBroken(f"{self.name}: {differences[0]}")
        for field in self.schema:
            if not field.nullable and field.name in nulls:
                raise ContractBroken(f"{self.name}: {field.name} is missing in {nulls[field.name]} rows")
