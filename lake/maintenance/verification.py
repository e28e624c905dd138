"""Verification: every data file that a retained release or a head needs, compared with its checksum.

It reads all bytes, of a disk or an object store. A file without a checksum, written by an older release
of this project, is decoded instead; ``deep`` decodes every file, with the checksums of its pages. What
is damaged is a finding until a later verification finds the file intact, or no longer needed.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial

import msgspec
import structlog
from deltalake.exceptions import DeltaError

from lake.delta.checksum import stated
from lake.delta.files import Files
from lake.delta.log_files import list_log
from lake.delta.tables import data_of, open_table
from lake.errors import LakeError
from lake.ledgers.findings import read_damage
from lake.maintenance.archived import archived_tables, archives
from lake.maintenance.damage_findings import Damage, write_damage
from lake.maintenance.damaged_tables import every_table
from lake.maintenance.file_check import NeededFile, RowCheck, data_fault, log_faults
from lake.maintenance.plan import needed_files
from lake.maintenance.vacuum import RetentionPolicy
from lake.paths import Lake
from lake.releases.release import current_release
from lake.releases.released_table import changed_versions, versions_of
from lake.settings import LakeSettings

log = structlog.get_logger()
# Nights in which each file is checked once.
NIGHTS = 7
# Parts of a verification after which its progress is logged, and the bytes from which that is worth it.
STEPS, LONG = 10, 50_000_000


class CheckedTable(msgspec.Struct, frozen=True):
    """A table to check: the lake or archive that has it, its name, and the greatest version that must exist.

    ``place`` is the path of the archive in the lake; empty for a table of the lake itself.
    """

    lake: Lake
    name: str
    released: int
    place: str = ""

    @property
    def label(self) -> str:
        """The table's name for an operator."""
        return f"{self.place} {self.name}".lstrip()

    @property
    def folder(self) -> str:
        """The table's path in the lake."""
        return f"{self.place}/{self.name.replace('.', '/')}".lstrip("/")


# Returns ``{path in the lake: bytes}`` of the data files that a table needs.
Needs = Callable[[], dict[str, int]]


class Verified(msgspec.Struct, frozen=True):
    """The result: the numbers of checked files and bytes, of files without a checksum, and the damage."""

    files: int
    bytes: int
    without_checksum: int
    damages: tuple[Damage, ...]


def verify(
    lake: Lake,
    settings: LakeSettings,
    *,
    now: datetime,
    share: bool = False,
    deep: bool = False,
    row_check: RowCheck | None = None,
) -> Verified:
    """Check all files, or one night's ``share`` of them, and write what is damaged to ``ops.findings``.

    ``deep`` decodes every file, and gives its table and rows to ``row_check``.
    """
    policy = RetentionPolicy(lake, settings, now=now)
    known = read_damage(lake)
    damages: list[Damage] = []
    files: list[NeededFile] = []
    for table, needs in [*live_tables(lake, policy), *tables_of_archives(lake)]:
        own = log_damage(table)
        try:
            needed = {} if own else needs()
        except (LakeError, DeltaError) as error:  # in an object store the files of a log are not checked
            own, needed = [Damage(table.label, f"{table.folder}/_delta_log/", unreadable(error))], {}
        damages += own
        files += [NeededFile(table.label, path, size) for path, size in sorted(needed.items())]
        files += stored_files(lake, table, known) if own else []
    damages += lost_versions(lake, without={damage.table for damage in damages})
    night = now.astimezone(UTC).date().toordinal() % NIGHTS
    due = [file for file in files if not share or file.path in known or night_of(file) == night]
    found = check_files(Files(lake.place), due, deep=deep, row_check=row_check)
    unread = {damage.table for damage in damages}
    damages += [each if each.table in unread else with_releases(lake, policy, each) for each in found]
    write_damage(lake, damages, known=known, now=now)
    without = sum(stated(file.path) is None for file in due)
    return Verified(len(due), sum(file.size or 0 for file in due), without, tuple(damages))


def live_tables(lake: Lake, policy: RetentionPolicy) -> Iterator[tuple[CheckedTable, Needs]]:
    """Yield the tables of a lake, each with a function that returns what its versions need."""
    for name in every_table(lake):
        yield CheckedTable(lake, name, policy.released(name)), partial(needs_of, policy, name)


def tables_of_archives(lake: Lake) -> Iterator[tuple[CheckedTable, Needs]]:
    """Yield the tables of all archives like ``live_tables``; each archive has one version of a table."""
    for place, archive in archives(lake).items():
        for name, version in archived_tables(archive).items():
            yield (
                CheckedTable(archive, name, max(version, 0), place),
                partial(archived_needs, archive, place, name),
            )


def needs_of(policy: RetentionPolicy, name: str) -> dict[str, int]:
    """Return ``{path in the lake: bytes}`` of the files that the retained versions and the head need."""
    folder = policy.open(name)
    needed = needed_files(folder.segments(), policy.versions(name, folder.log)).files
    return {f"{name.replace('.', '/')}/{path}": size for path, size in needed.items()}


def archived_needs(archive: Lake, place: str, name: str) -> dict[str, int]:
    """Return ``{path in the lake: bytes}`` of the files of an archived table."""
    return {f"{place}/{path}": size for path, size in data_of(archive, name, None).items()}


def unreadable(error: Exception) -> str:
    """Return the reason of a log that can't be read, in one line. Pure."""
    return f"can't be read: {' '.join(str(error).split())}"


def stored_files(lake: Lake, table: CheckedTable, known: Iterable[str]) -> list[NeededFile]:
    """Return all data files in a table's folder, and those that are known to be damaged.

    A table needs some of them, but only its log, which is damaged, tells which.
    """
    paths = {path for path in Files(lake.place).sizes(table.folder) if path.endswith(".parquet")}
    paths |= {path for path in known if path.startswith(f"{table.folder}/")}
    return [NeededFile(table.label, path) for path in sorted(paths) if "/_delta_log/" not in path]


def log_damage(table: CheckedTable) -> list[Damage]:
    """Return the damaged files of a table's log on a disk."""
    if not table.lake.is_local:
        return []
    faults = log_faults(table.lake.uri(table.name), released=table.released)
    return [Damage(table.label, f"{table.folder}/_delta_log/{file.name}", fault) for file, fault in faults]


def lost_versions(lake: Lake, *, without: Set[str]) -> list[Damage]:
    """Return the damage of logs that lost the version of the current release, or show others in its place.

    Tables ``without`` are left out: the damage of their logs is known.
    """
    current = current_release(lake)
    if current is None:
        return []
    found: list[Damage] = []
    changed = changed_versions(lake, current)
    for name, at in sorted(versions_of(current).items()):
        path = f"{name.replace('.', '/')}/_delta_log/{at:020d}.json"
        head = list_log(lake.uri(name)).head if lake.is_local else at
        if name in without:
            continue
        if head < at:
            found.append(Damage(name, path, "is missing, as is every later entry of the log"))
        elif name in changed:
            found.append(Damage(name, path, f"is not the commit of release {current.release}"))
    return found


def night_of(file: NeededFile) -> int:
    """Return the night, from 0 to NIGHTS - 1, in which a file is due. Pure."""
    return zlib.crc32(file.path.encode()) % NIGHTS


def check_files(
    files: Files, due: Sequence[NeededFile], *, deep: bool, row_check: RowCheck | None
) -> list[Damage]:
    """Return the damage of these files; they are read concurrently."""

    def check(file: NeededFile) -> str | None:
        return data_fault(files, file, deep=deep, row_check=row_check)

    with ThreadPoolExecutor(files.parallelism, thread_name_prefix="verify") as pool:
        faults = with_progress(due, pool.map(check, due))
        return [Damage(file.table, file.path, fault) for file, fault in faults if fault]


def with_progress(
    due: Sequence[NeededFile], faults: Iterator[str | None]
) -> Iterator[tuple[NeededFile, str | None]]:
    """Yield each file with its fault; log the progress of a long verification."""
    total, done, step = sum(file.size or 0 for file in due), 0, 1
    for number, (file, fault) in enumerate(zip(due, faults, strict=True), start=1):
        done += file.size or 0
        if total > LONG and done * STEPS >= step * total:
            log.info("verify.progress", files=number, of=len(due), megabytes=round(done / 1e6))
            step = done * STEPS // total + 1
        yield file, fault


def with_releases(lake: Lake, policy: RetentionPolicy, damage: Damage) -> Damage:
    """Return the damage with the retained releases that need the file."""
    if damage.is_archived:
        return damage
    name, uri = damage.table, f"{lake.place}/{damage.path}"
    versions = {release.release: versions_of(release).get(name) for release in policy.releases}
    having = {at for at in {*versions.values()} - {None} if uri in uris_of(lake, name, at)}
    releases = tuple(sorted(number for number, at in versions.items() if at in having))
    current = current_release(lake)
    serves = current is not None and current.release in releases
    is_current = serves or uri in uris_of(lake, name, None)
    return msgspec.structs.replace(damage, releases=releases, is_current=is_current)


def uris_of(lake: Lake, name: str, version: int | None) -> Set[str]:
    """Return the files of a version; none if its log can't be read."""
    try:
        return open_table(lake, name, version).uris()
    except (LakeError, DeltaError):
        return set()
