"""Tables: open, create and list the tables of a lake."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from lake.delta import log_entry
from lake.delta.commits import columns_of
from lake.delta.durability import seal
from lake.delta.log_check import log_ends, settle
from lake.delta.log_files import LOG, LogFiles, list_log
from lake.delta.properties import PROPERTIES, statistics
from lake.delta.table import Table
from lake.errors import LakeError, LibraryPanic, TableDamaged, TableMissing, panics_as_errors
from lake.paths import Lake

# The reason and the next step if a version, or one of its files, is missing.
KEPT = (
    "a vacuum deletes releases that are older than [lake] keep_all_hours, unless they are a day's last or"
    " have a tag, and a backup has only the newest one: name a day, such as --as-of 2026-04-05; its last"
    " release is retained"
)


def open_table(lake: Lake, name: str, version: int | None = None) -> Table:
    """Open a table at its head, or at a version.

    Raises TableMissing if the table or version is missing, TableDamaged if its log is.
    """
    opened = version
    if lake.is_local:
        opened = settle(name, lake.uri(name), version, is_durable=lake.durable, is_read_only=lake.read_only)
    try:
        if opened is not None and opened < 0:  # a power cut has torn the first commit
            raise TableNotFoundError
        with panics_as_errors():
            delta = DeltaTable(lake.uri(name), version=opened)
        return Table(name, delta, is_durable=lake.durable, is_read_only=lake.read_only)
    except LibraryPanic as error:  # delta-rs does so for some damaged checkpoints
        raise unreadable(name, error) from None
    except DeltaError as error:
        if version is not None:
            raise unopened(lake, name, version, error) from None
        if not isinstance(error, TableNotFoundError):
            if not lake.is_local:
                raise
            raise unreadable(name, error) from None
        raise TableMissing(
            f"{name}: no such table in {lake.place}; an ingest or a transform creates it"
        ) from None


def unreadable(name: str, error: Exception) -> TableDamaged:
    """Return the error for a log that has all of its files, and can't be read."""
    reason = " ".join(str(error).split())[:200]
    return TableDamaged(f"{name}: its log can't be read ({reason}); run `just repair`")


def unopened(lake: Lake, name: str, version: int, error: DeltaError) -> LakeError:
    """Return the error for a version that does not open: the log has lost it, or a vacuum deleted it."""
    files = list_log(lake.uri(name)) if lake.is_local else LogFiles({}, {})
    if files.head < version and (files.head >= 0 or has_only_data(lake, name)):
        return log_ends(name, version)
    if version in files.entries and (gap := files.gap(version)) is not None:
        if files.gap(files.head) is not None:
            return TableDamaged(
                f"{name}: log entry {gap} is missing, so version {version} can't be read; run `just repair`"
            )
        return TableMissing(
            f"{name}: log entry {gap} is missing, so version {version} can't be read any more;"
            " newer versions can: name a newer release"
        )
    if files.is_complete(version):
        return unreadable(name, error)
    return TableMissing(f"{name}: version {version} is not in {lake.place}; {KEPT}")


def create_table(lake: Lake, name: str, schema: pa.Schema, *, partition_by: Sequence[str] = ()) -> Table:
    """Open a table, and create it if it does not exist. Two processes may do this concurrently.

    Raises UsageError if no lake can be at the root.
    """
    lake.refuse_unusable()
    with suppress(TableMissing):
        return open_table(lake, name)
    lake.create()
    configuration = PROPERTIES | statistics(schema, partition_by)
    stated = log_entry.evidence(0, [], []) | columns_of(schema, partition_by, configuration)
    try:
        delta = DeltaTable.create(
            lake.uri(name),
            schema,
            mode="ignore",
            partition_by=list(partition_by),
            configuration=configuration,
            commit_properties=CommitProperties(custom_metadata=stated, max_commit_retries=0),
        )
    except DeltaError:
        return open_table(lake, name)  # another process was first
    if lake.is_local:
        seal(lake.uri(name), delta.version(), is_durable=lake.durable)
    return Table(name, delta, is_durable=lake.durable)


def table_exists(lake: Lake, name: str) -> bool:
    """True if the lake has a Delta table of this name. Raises TableDamaged."""
    if not lake.is_local:
        return DeltaTable.is_deltatable(lake.uri(name))
    head = list_log(lake.uri(name)).head
    if head != 0:
        return head > 0
    # A power cut may have torn the first commit.
    opened = settle(name, lake.uri(name), is_durable=lake.durable, is_read_only=lake.read_only)
    return opened is None and list_log(lake.uri(name)).head >= 0


def has_only_data(lake: Lake, name: str) -> bool:
    """True if a table's folder on a disk has data files, and no log."""
    return lake.is_local and list_log(lake.uri(name)).head < 0 and any(data_files(lake, name))


def data_files(lake: Lake, name: str) -> Iterator[Path]:
    """Yield the Parquet files in a table's folder on a disk, whether or not its log names them."""
    return (file for file in Path(lake.uri(name)).rglob("*.parquet") if LOG not in file.parts)


def is_openable(lake: Lake, name: str, version: int) -> bool:
    """True if the log of a table has a version; always for an object store."""
    return not lake.is_local or list_log(lake.uri(name)).is_complete(version)


def list_tables(lake: Lake, layer: str) -> list[str]:
    """Return the names of a layer's tables; a table is listed only after its first commit."""
    return [name for name in lake.tables(layer) if table_exists(lake, name)]


def data_of(lake: Lake, name: str, version: int | None) -> dict[str, int]:
    """Return ``{path in the lake: bytes}`` of the live files of a version, or of the head."""
    folder = name.replace(".", "/")
    files = open_table(lake, name, version).files()
    return {f"{folder}/{file.uri.rpartition(f'/{folder}/')[2]}": file.size for file in files}
