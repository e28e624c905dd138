"""Table: one Delta table and the few things done to it.

Appends may meet other appends and go behind them; a replacement is made on the
version it was computed from and is refused when somebody committed since. The
schema is compared before every write: Delta would cast silently (1.5 into a BIGINT is 1).
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
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from lake.delta.commits import PINNED, LiveFile, Partitions, commit_files, live_files
from lake.delta.contract import breaks
from lake.delta.log import Actions, DataFile
from lake.delta.parquet import writer_properties
from lake.delta.properties import PROPERTIES, statistics
from lake.delta.writer import Staged, missing, stage
from lake.errors import CommitConflict, ContractBroken, TableMissing
from lake.paths import Lake

# A handle that follows its table grows by 130 kB a commit and slows down; one opened anew does not.
REOPEN = 20
# What is to be said of a version, or of its files, where it is gone.
KEPT = (
    "a vacuum deletes what is older than [lake] keep_all_hours, is no day's last and has no tag; a backup"
    " has the newest alone: name a day, as --as-of 2026-04-05, whose last release is kept"
)
# So often an append goes behind others before it gives up.
TRIES = 50
# An observation of an id is told from all others by when it was made, and by which run.
LOOK = ("fetched_at", "run_id")


class Table:
    """A Delta table held open at one version."""

    def __init__(self, name: str, delta: DeltaTable) -> None:
        self.name = name
        self._delta = delta
        self._told: tuple[int, Actions] | None = None
        self._commits = 0

    @property
    def version(self) -> int:
        """Delta's number of the version held."""
        return int(self._delta.version())

    @property
    def schema(self) -> pa.Schema:
        """The table's columns and types, partition columns included."""
        return pa.schema(self._delta.schema().to_arrow())

    @property
    def partition_by(self) -> list[str]:
        """The columns whose values are folders."""
        return list(self._delta.metadata().partition_columns)

    @property
    def place(self) -> str:
        """The table's folder: a path, or a URI of an object store."""
        # A URI writes spaces and the like in its own way, paths and DuckDB do not.
        return unquote(self._delta.table_uri).removeprefix("file://").rstrip("/")

    def files(self) -> list[DataFile]:
        """Return the live files of the version held."""
        return self._actions().files()

    def uris(self) -> set[str]:
        """Return the absolute places of the live files, as ``files`` does, without what else it says."""
        written = self._delta.table_uri.removeprefix("file://").rstrip("/")
        return {unquote(written) + uri.removeprefix(written) for uri in self._delta.file_uris()}

    def refresh(self) -> None:
        """Hold the newest version from now on."""
        self._delta.update_incremental()

    def spans(self, column: str) -> dict[str, tuple[int, int]]:
        """Return, by their places, the least and the greatest value of a column in each file that says so."""
        return self._actions().spans(column)

    def appended(self, column: str, *, after: int) -> set[int]:
        """Return the ids in a column of all rows that were appended after a version, up to the one held."""
        if self.version <= after:
            return set()
        try:
            feed = self._delta.load_cdf(
                starting_version=after + 1, ending_version=self.version, columns=[column]
            )
            return {found for batch in feed for found in pa.record_batch(batch).column(column).to_pylist()}
        except Exception:
            # Maintenance keeps the feed from the release that serves; after a rollback that is an older
            # one. A commit that is gone is a DeltaError, a file that is gone a plain Exception.
            return self._appended_by_rows(column, DeltaTable(self._delta.table_uri, version=after))

    def _appended_by_rows(self, column: str, before: DeltaTable) -> set[int]:
        """Return the ids in the rows that an older version has not; nothing is ever taken from the table.

        All of both is read, but only what tells one row from another.
        """
        told = [column, *(name for name in LOOK if name in self.schema.names and name != column)]
        held = before.to_pyarrow_dataset().to_table(columns=told, use_threads=False)
        rows = self.read(told).join(held, told, join_type="left anti", use_threads=False)
        return set(rows[column].to_pylist())

    def maximum(self, column: str) -> object:
        """Return the greatest value of a column by the files' own statistics; None without rows.

        Delta keeps instants in statistics to the millisecond, cut, not rounded.
        """
        return self._actions().maximum(column)

    def counts(self, column: str) -> dict[Any, int]:
        """Return how many rows have each value of a column, by statistics where no file has two values."""
        found = self._actions().counts(column)
        return dict(Counter(self.read([column])[column].to_pylist())) if found is None else found

    def read(self, columns: Sequence[str] | None = None, where: pc.Expression | None = None) -> pa.Table:
        """Return rows; files whose statistics exclude ``where`` are not opened."""
        dataset = self._delta.to_pyarrow_dataset()
        return dataset.to_table(columns=list(columns) if columns else None, filter=where, use_threads=False)

    def stage(self, rows: pa.Table) -> Staged:
        """Write rows into files that nobody sees before they are committed, and nobody ever if they are not.

        Raises ContractBroken where the rows' schema is not the table's, or a promised value is missing;
        CommitConflict where erasures tidy up again and again what is half there.
        """
        self._guard(rows.schema, missing(rows))
        return stage(self.name, self.place, rows, partition_by=self.partition_by)

    def append(self, rows: pa.Table | Staged) -> int:
        """Add rows and return the version; without rows nothing is committed. Raises as ``stage`` does."""
        staged = rows if isinstance(rows, Staged) else self.stage(rows)
        if not staged.files:
            return self.version
        for left in reversed(range(TRIES)):
            held = self.version
            try:
                self._commit(staged.files)
                break
            except CommitFailedError:
                if not left:
                    raise self.conflict("others committed without pause") from None
                self._delta.update_incremental()
            except DeltaError:  # the log is cleaned up behind the version held: hours have passed
                self._delta.update_incremental()
                if self.version == held or not left:
                    raise
            self._guard_staged(staged)
        self._hold(held + 1)
        return self.version

    def replace(self, rows: pa.Table | Staged, parts: Sequence[date] | None = None) -> int:
        """Put ``rows`` in place of all rows, or of those of the given months, or weeks; return the version.

        The version held is the one replaced: raises CommitConflict if it is no longer the head,
        ContractBroken where a row is of none of these months, and as ``stage`` does.
        """
        staged = rows if isinstance(rows, Staged) else self.stage(rows)
        self._guard_staged(staged)
        among: Partitions | None = None
        if parts is not None:
            [part] = self.partition_by
            days = [day.isoformat() for day in parts]
            among = [(part, "in", days)]
            if beyond := {file.partition[part] for file in staged.files}.difference(days):
                raise ContractBroken(f"{self.name}: {part} {min(beyond)} is not among what is replaced")
        return self._commit_alone(staged.files, mode="overwrite", among=among)

    def redefine(self, rows: pa.Table, *, partition_by: Sequence[str] = ()) -> int:
        """Put ``rows`` in place of all rows, their columns and partitions in place of the table's.

        Older versions keep theirs. Raises CommitConflict as ``replace`` does.
        """
        told = statistics(rows.schema, partition_by)
        if told.items() - self._delta.metadata().configuration.items():
            with self._alone():
                self._delta.alter.set_table_properties(told, commit_properties=PINNED)
        with self._alone():
            write_deltalake(
                self._delta,
                rows,
                mode="overwrite",
                schema_mode="overwrite",
                partition_by=list(partition_by),
                writer_properties=writer_properties(rows.schema),
                commit_properties=PINNED,
            )
        return self.version

    def append_pinned(self, rows: pa.Table | Staged) -> int:
        """Append on the version held and nothing newer; raises CommitConflict, and as ``stage`` does."""
        staged = rows if isinstance(rows, Staged) else self.stage(rows)
        self._guard_staged(staged)
        return self._commit_alone(staged.files)

    def partitions(self, column: str) -> set[str]:
        """Return the values that a partition column has, as its folders spell them."""
        return {str(partition[column]) for partition in self._delta.partitions()}

    def delete(self, where: str) -> None:
        """Delete the rows for which the SQL holds; raises CommitConflict where somebody is in the way."""
        with self._alone():
            self._delta.delete(where)

    def restore(self, version: int) -> int:
        """Commit the content of an older version as the newest; return the new version."""
        with self._alone():
            self._delta.restore(version, commit_properties=PINNED)
        return self.version

    def _actions(self) -> Actions:
        """Return what the log says of the live files; asked once of a version."""
        if self._told is None or self._told[0] != self.version:
            self._told = self.version, Actions(self._delta, self.place)
        return self._told[1]

    def _commit_alone(self, files: Sequence[LiveFile], **how: Any) -> int:
        """Commit files on the version held; return the new one. Raises CommitConflict."""
        held = self.version
        with self._alone():
            self._commit(files, **how)
        self._hold(held + 1)
        return self.version

    def _commit(
        self, files: Sequence[LiveFile], *, mode: str = "append", among: Partitions | None = None
    ) -> None:
        """Commit files upon the version held and none newer, in place of those ``among`` some partitions."""
        if self._commits >= REOPEN:
            self._delta = DeltaTable(self._delta.table_uri, version=self.version)
            self._commits = 0
        try:
            commit_files(self._delta, files, mode=mode, among=among)
        except DeltaError:
            if not self._has(self.version + 1, files):
                raise

    def _hold(self, version: int) -> None:
        """Hold what was committed: the head may be another's by now."""
        self._delta.load_as_version(version)
        self._commits += 1

    def _has(self, version: int, files: Sequence[LiveFile]) -> bool:
        """True where a version has the files, if there are any."""
        with suppress(DeltaError):
            held = live_files(DeltaTable(self._delta.table_uri, version=version)).keys()
            return bool(files) and {file.path for file in files} <= held
        return False

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Raise CommitConflict where somebody else has committed meanwhile."""
        try:
            yield
        except CommitFailedError:
            raise self.conflict("somebody else committed") from None

    def conflict(self, found: str) -> CommitConflict:
        """Return the error that says the head moved under us."""
        return CommitConflict(
            f"{self.name}: {found} after version {self.version} was read; nothing was written, run it again"
        )

    def _guard_staged(self, staged: Staged) -> None:
        """Raise ContractBroken where the files do not fit the version held; others may have changed it."""
        self._guard(staged.schema, staged.missing)
        if self.partition_by != staged.partition_by:
            raise ContractBroken(f"{self.name}: it is partitioned in another way meanwhile; run it again")

    def _guard(self, found: pa.Schema, lacking: Mapping[str, int]) -> None:
        """Raise ContractBroken where rows are not of the table's columns, or lack what it promises."""
        if broken := breaks(found, self.schema):
            raise ContractBroken(f"{self.name}: {broken[0]}")
        for field in self.schema:
            if not field.nullable and field.name in lacking:
                raise ContractBroken(f"{self.name}: {field.name} is missing in {lacking[field.name]} rows")


def open_table(lake: Lake, name: str, version: int | None = None) -> Table:
    """Open a table at its head, or at a version. Raises TableMissing."""
    try:
        return Table(name, DeltaTable(lake.uri(name), version=version))
    except DeltaError as error:
        if version is not None:
            raise TableMissing(f"{name}: version {version} is not in {lake.place}; {KEPT}") from error
        if not isinstance(error, TableNotFoundError):
            raise
        raise TableMissing(
            f"{name}: no such table in {lake.place}; an ingest or a transform makes it"
        ) from None


def create_table(lake: Lake, name: str, schema: pa.Schema, *, partition_by: Sequence[str] = ()) -> Table:
    """Open a table, making it first where there is none; safe when two processes do it at once."""
    with suppress(TableMissing):
        return open_table(lake, name)
    try:
        delta = DeltaTable.create(
            lake.uri(name),
            schema,
            mode="ignore",
            partition_by=list(partition_by),
            configuration=PROPERTIES | statistics(schema, partition_by),
        )
    except DeltaError:
        return open_table(lake, name)  # somebody else was first
    return Table(name, delta)


def table_exists(lake: Lake, name: str) -> bool:
    """True where a Delta table is at the name's place."""
    return DeltaTable.is_deltatable(lake.uri(name))


def list_tables(lake: Lake, layer: str) -> list[str]:
    """Return the names of a layer's tables; one that is being made at this moment is not there yet."""
    return [name for name in lake.tables(layer) if table_exists(lake, name)]


def data_of(lake: Lake, name: str, version: int) -> dict[str, int]:
    """Return ``{path in the lake: bytes}`` of a version's live files. Raises TableMissing."""
    folder = name.replace(".", "/")
    files = open_table(lake, name, version).files()
    return {f"{folder}/{file.uri.rpartition(f'/{folder}/')[2]}": file.size for file in files}
