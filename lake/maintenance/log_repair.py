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

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import structlog
from deltalake import DeltaTable, Schema

from lake.delta.durability import write_sealed
from lake.delta.log_check import fault_of, is_whole_checkpoint, set_aside
from lake.delta.log_entry import stated_columns
from lake.delta.log_files import HINT, LOG, LogFiles, list_log
from lake.delta.tables import create_table, data_files, has_only_data, open_table
from lake.errors import LakeError, panics_as_errors
from lake.ledgers.runs import RUNS
from lake.maintenance.lost_rows import append_lost_rows
from lake.paths import LAYERS, Lake
from lake.query.catalogue import lost_releases
from lake.releases.release import RELEASES, current_release, list_releases
from lake.releases.released_table import changed_versions
from lake.settings import LakeSettings

log = structlog.get_logger()
# Tables whose rows are only ever appended. Builds write the others again.
APPENDED = ("bronze.", "ops.")


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
    names = [name for layer in LAYERS for name in lake.tables(layer)]
    results = [repair_releases(lake, settings)] if RELEASES in names else []
    released, current = released_versions(lake), current_release(lake)
    changed = changed_versions(lake, current) if current else {}
    names += [name for name in released if name.startswith("bronze.") and has_only_data(lake, name)]
    # The receipts decide which rows of bronze are recovered.
    others = sorted((name for name in names if name != RELEASES), key=lambda name: name != RUNS)
    failures: list[LakeError] = []
    for name in others:
        try:
            results.append(
                repair_log(lake, name, settings, released=released.get(name, 0), changed=changed.get(name))
            )
        except LakeError as error:  # the other tables are repaired all the same
            log.error("lake.log_not_repaired", table=name, reason=str(error))
            failures.append(error)
    if failures:
        raise failures[0]
    return [repaired for repaired in results if repaired]


def repair_releases(lake: Lake, settings: LakeSettings) -> Repaired | None:
    """Repair the log of the releases, also if only the catalogue shows that its end is lost.

    A catalogue is deleted if its release can't be recovered. The next build writes it again.
    """
    repaired = repair_log(lake, RELEASES, settings)
    if lake.catalogue is None or not lost_releases(lake):
        return repaired
    table = open_table(lake, RELEASES)
    log_files = list_log(table.place)
    rows = append_lost_rows(lake, table, log_files, [log_files.head + 1], settings)
    if lost_releases(lake):
        lake.catalogue.unlink()
    before = repaired or Repaired(RELEASES, (), 0, 0)
    return Repaired(RELEASES, before.lost, table.version, before.rows + rows)


def released_versions(lake: Lake) -> dict[str, int]:
    """Return the greatest version of each table that any release references."""
    versions: dict[str, int] = {}
    for release in list_releases(lake):
        for name, version in {**release.tables, **release.consumed}.items():
            versions[name] = max(version, versions.get(name, 0))
    return versions


def repair_log(
    lake: Lake, name: str, settings: LakeSettings, *, released: int = 0, changed: int | None = None
) -> Repaired | None:
    """Repair a table's log; return None if it is whole and reaches the ``released`` version.

    The entry of a version that is ``changed``, although it is whole, is not that of the release.
    """
    place = lake.uri(name)
    if has_only_data(lake, name):
        create_again(lake, name)
    files = list_log(place)
    damaged, head = damaged_files(files), files.head
    if head < 0 and not released:  # a table that is being created
        return None
    if changed in files.entries and files.entries[changed] not in damaged:
        damaged.append(files.entries[changed])
    whole = without(files, damaged)
    if not damaged:  # otherwise Delta reads a damaged file as long as it is there
        damaged = unreadable_checkpoints(place, whole, {head, released})
        whole = without(files, damaged)
        if whole.base(head) < 0 and whole.is_complete(head) and not damaged and not is_readable(place, head):
            return begin_again(lake, name, settings, released=max(head, released))
    numbers = range(min(whole.base(head) + 1, head), max(head, released) + 1)
    missing = {number for number in numbers if number not in whole.entries}
    if not missing and not damaged:
        return None
    if missing:
        new, log_folder = max(head, released) + 1, Path(place) / LOG
        try:
            content = checkpoint(name, whole, head)
        except LakeError:
            return begin_again(lake, name, settings, released=new - 1)
        write_sealed(log_folder / f"{new:020d}.checkpoint.parquet", content, is_durable=lake.durable)
        write_sealed(log_folder / f"{new:020d}.json", empty_entry(), is_durable=lake.durable)
    (Path(place) / LOG / HINT).unlink(missing_ok=True)
    entries = {number for number, file in files.entries.items() if file in damaged}
    rename(name, [file for file in damaged if file not in files.entries.values()])
    table, rows = open_table(lake, name), 0
    if (lost := missing | entries) and name.startswith(APPENDED):
        rows = append_lost_rows(lake, table, whole, lost, settings)
    # Last, because a repair that was killed before is done again as long as an entry is damaged.
    rename(name, [files.entries[number] for number in entries])
    return Repaired(name, tuple(sorted(file.name for file in damaged)), table.version, rows)


def unreadable_checkpoints(place: str, whole: LogFiles, versions: Iterable[int]) -> list[Path]:
    """Return the files of the checkpoints from which one of these versions can't be read."""
    files: list[Path] = []
    for version in versions:
        base = whole.base(version)
        if base >= 0 and whole.is_complete(version) and not is_readable(place, version):
            files += (file for file in whole.checkpoints[base] if file not in files)
    return files


def is_readable(place: str, version: int) -> bool:
    """Return True if Delta can open a version."""
    try:
        with panics_as_errors():
            DeltaTable(place, version=version)
    except Exception:  # deltalake raises several classes
        return False
    return True


def begin_again(lake: Lake, name: str, settings: LakeSettings, *, released: int) -> Repaired:
    """Set all of a log aside that does not describe its table any more; recover the rows of bronze.

    The next build writes a table of silver or gold again. Raises LakeError for a ledger, which follows
    from nothing else.
    """
    if name.startswith("ops."):
        raise LakeError(f"{name}: what is left of its log does not describe the table; run `just restore`")
    files = list_log(lake.uri(name))
    lost = [*files.entries.values(), *(file for own in files.checkpoints.values() for file in own)]
    columns = next(filter(None, (stated_columns(file.read_bytes()) for file in files.entries.values())), None)
    rename(name, lost)
    if columns and name.startswith("bronze.") and not has_only_data(lake, name):
        schema = pa.schema(Schema.from_json(columns.schemaString).to_arrow())
        create_table(lake, name, schema, partition_by=columns.partitionColumns)
    names = tuple(sorted(file.name for file in lost))
    again = repair_log(lake, name, settings, released=released) if name.startswith("bronze.") else None
    return Repaired(name, names, again.version if again else 0, again.rows if again else 0)


def create_again(lake: Lake, name: str) -> None:
    """Create an empty table with the columns of the data files in its folder, which has no log."""
    place = Path(lake.uri(name))
    file = min(data_files(lake, name))
    days = [folder.partition("=")[0] for folder in file.relative_to(place).parts[:-1]]
    columns = [*pq.read_schema(file), *(pa.field(day, pa.date32(), nullable=False) for day in days)]
    create_table(lake, name, pa.schema(columns), partition_by=days)


def rename(name: str, files: Iterable[Path]) -> None:
    """Set damaged files aside. Raises LakeError if this user may not."""
    if not set_aside(name, files):
        raise LakeError(
            f"{name}: this user may not rename files of its log; run `just repair` as their owner"
        )


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
        # Delta does not open every checkpoint without the entry of its version.
        for number in range(max(base, 0), head + 1):
            entry = copy / f"{number:020d}.json"
            if number in whole.entries:
                shutil.copy(whole.entries[number], entry)
            else:
                entry.write_bytes(empty_entry())
        try:
            with panics_as_errors():
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
