"""Log repair: a table whose log was damaged is readable again, without the commits that were lost.

The newest version is written as a checkpoint with a number of its own. So no lost number is used
again: a release that references a lost version is refused, and never shows other rows. The next
build writes such tables of silver and gold again. Rows of a lost commit of bronze are in their data
files still, and are appended again.
"""

import shutil
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import msgspec
import structlog
from deltalake import DeltaTable

from lake.delta.damage import check as is_undamaged
from lake.delta.durability import HINT, LOG, LogFiles, list_log, write_sealed
from lake.delta.log_check import fault_of, is_whole_checkpoint, set_aside
from lake.delta.table import Table, open_table
from lake.errors import LakeError
from lake.maintenance.folder import Folder
from lake.paths import LAYERS, Lake
from lake.query.quote import literals
from lake.query.session import Connection, connect, duckdb_types, fetch, read_parquet, scan
from lake.releases.release import RELEASES, list_releases
from lake.settings import LakeSettings

log = structlog.get_logger()

# Tables whose rows are only ever appended. Builds write the others again.
APPENDED = ("bronze.", "ops.")
# A lost release that may be appended again: another row with its number would be a release that lost a race.
LOST_RELEASE = """
select *
from ({lost}) as lost
where
    release > (select coalesce(max(release), 0) from ({present}))
    and 1 = (select count(*) from ({lost}) as others where others.release = lost.release)
"""


class Repaired(msgspec.Struct, frozen=True):
    """A repaired table: the log files that were set aside, its version now, and the rows appended again.

    ``lost`` is empty if files of the log were missing.
    """

    table: str
    lost: tuple[str, ...]
    version: int
    rows: int


def repair_logs(lake: Lake, settings: LakeSettings) -> list[Repaired]:
    """Repair every table with a torn or changed log entry or checkpoint; return them.

    An object store writes each file whole, so there is nothing to repair in it. Raises LakeError if
    what is left of a log does not describe the table.
    """
    if not lake.is_local:
        return []
    releases = repair_log(lake, RELEASES, settings) if RELEASES in lake.tables("ops") else None
    names = [name for layer in LAYERS for name in lake.tables(layer) if name != RELEASES]
    released = released_versions(lake)
    results = [repair_log(lake, name, settings, released=released.get(name, 0)) for name in names]
    return [repaired for repaired in [releases, *results] if repaired]


def released_versions(lake: Lake) -> dict[str, int]:
    """Return the greatest version of each table that any release references."""
    versions: dict[str, int] = {}
    for release in list_releases(lake):
        for name, version in {**release.tables, **release.consumed}.items():
            versions[name] = max(version, versions.get(name, 0))
    return versions


def repair_log(lake: Lake, name: str, settings: LakeSettings, *, released: int = 0) -> Repaired | None:
    """Repair a table's log; return None if it is whole and reaches the ``released`` version."""
    place = lake.uri(name)
    files = list_log(place)
    damaged, head = damaged_files(files), files.head
    whole = without(files, damaged)
    is_started = head not in files.entries  # a repair was killed between its two writes
    is_read = whole.is_complete(head) and head >= released
    if is_read and not damaged and not is_started:
        return None
    new = head if is_started else max(head, released) + 1
    if not is_started and not is_read:
        content = checkpoint(name, whole, head)
        file = Path(place) / LOG / f"{new:020d}.checkpoint.parquet"
        write_sealed(file, content, is_durable=lake.durable)
        is_started = True
    if is_started:  # Delta opens no checkpoint without the entry of its version
        write_sealed(Path(place) / LOG / f"{new:020d}.json", empty_entry(), is_durable=lake.durable)
    set_aside(name, damaged)
    (Path(place) / LOG / HINT).unlink(missing_ok=True)
    table = open_table(lake, name)
    rows = append_lost_rows(table, settings) if name.startswith(APPENDED) else 0
    return Repaired(name, tuple(sorted(file.name for file in damaged)), table.version, rows)


def damaged_files(files: LogFiles) -> list[Path]:
    """Return the entries and checkpoints that are not as they were written."""
    entries = [file for file in files.entries.values() if fault_of(file)]
    checkpoints = [file for own in files.checkpoints.values() for file in own]
    return [*entries, *(file for file in checkpoints if not is_whole_checkpoint(file))]


def without(files: LogFiles, damaged: Iterable[Path]) -> LogFiles:
    """Return a log without some of its files; a checkpoint needs all of its files. Pure."""
    lost = set(damaged)
    return LogFiles(
        {number: file for number, file in files.entries.items() if file not in lost},
        {number: own for number, own in files.checkpoints.items() if lost.isdisjoint(own)},
    )


def checkpoint(name: str, whole: LogFiles, head: int) -> bytes:
    """Return the checkpoint of what the whole files of a log describe, up to its head.

    Raises LakeError if the columns of the table are not among it.
    """
    base = whole.base(head)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / LOG
        copy.mkdir()
        for file in whole.checkpoints.get(base, []):
            shutil.copy(file, copy)
        for number in range(base + 1, head + 1):
            entry = copy / f"{number:020d}.json"
            if number in whole.entries:
                shutil.copy(whole.entries[number], entry)
            else:
                entry.write_bytes(empty_entry())
        try:
            DeltaTable(folder, version=head).create_checkpoint()
        except Exception as error:  # deltalake raises several classes
            raise LakeError(
                f"{name}: what is left of its log does not describe the table ({error}); run `just restore`"
            ) from None
        (file,) = copy.glob(f"{head:020d}.checkpoint*.parquet")
        return file.read_bytes()


def empty_entry() -> bytes:
    """Return a log entry that changes nothing, for a lost one."""
    stamp = int(datetime.now(UTC).timestamp() * 1000)
    return msgspec.json.encode({"commitInfo": {"timestamp": stamp, "operation": "REPAIR"}}) + b"\n"


def append_lost_rows(table: Table, settings: LakeSettings) -> int:
    """Append the rows of data files that no commit names, except those that the table has; return how many.

    A file that can't be read is left out, with a warning in the log.
    """
    files = [file for file in unnamed_files(table) if is_undamaged(file)]
    if not files:
        return 0
    with connect(settings) as connection:
        types = duckdb_types(connection, table.schema)
        columns = ", ".join(f'"{column}"' for column in types)
        readable = [file for file in files if is_readable(connection, table.name, file)]
        if not readable:
            return 0
        lost = f"select {columns} from {read_parquet(readable, table, types)}"
        present = f"select {columns} from ({scan(connection, table)})"
        if table.name == RELEASES:
            lost = LOST_RELEASE.format(lost=lost, present=present)
        rows = fetch(connection, f"{lost} except {present}")
    table.append(rows.cast(table.schema))
    return int(rows.num_rows)


def is_readable(connection: Connection, name: str, file: str) -> bool:
    """Return True if DuckDB can read all of a data file; log a warning if it can't."""
    try:
        connection.execute(f"select count(columns(*)) from read_parquet({literals([file])})").fetchall()
    except duckdb.Error as error:
        log.warning("lake.lost_file_is_unreadable", table=name, file=file, reason=str(error))
        return False
    return True


def unnamed_files(table: Table) -> list[str]:
    """Return the paths of the Parquet files in a table's folder that no version in its log has."""
    folder = Folder(DeltaTable(table.place))
    named = set(folder.live)
    for segment in folder.segments():
        named |= segment.files.keys()
        for commit in segment.commits:
            named |= commit.added.keys() | commit.removed
    stored = sorted(file.path for file in folder.data if file.path.endswith(".parquet"))
    return [f"{table.place}/{path}" for path in stored if path not in named]
