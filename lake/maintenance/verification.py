"""Verification: every data file that a retained release or a head needs, compared with its checksum.

It reads all bytes, of a disk or an object store. A file without a checksum, written by an older release
of this project, is decoded instead; ``deep`` decodes every file, with the checksums of its pages. What
is damaged is a finding until a later verification finds the file intact, or no longer needed.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import structlog
from deltalake.exceptions import DeltaError

from lake.delta.checksum import is_intact, stated
from lake.delta.checksum_file import has_checksum, read_checksum
from lake.delta.files import Files
from lake.delta.log_check import fault_of as entry_fault
from lake.delta.log_files import list_log
from lake.delta.tables import data_of, open_table
from lake.errors import LakeError, TableDamaged
from lake.ledgers.findings import DAMAGE, Finding, read_damage, write_findings
from lake.maintenance.plan import needed_files
from lake.maintenance.vacuum import RetentionPolicy, every_table
from lake.paths import Lake
from lake.releases.release import Release, current_release
from lake.settings import LakeSettings

log = structlog.get_logger()
# Nights in which each file is checked once.
NIGHTS = 7
# Parts of a verification after which its progress is logged, and the bytes from which that is worth it.
STEPS, LONG = 10, 50_000_000
# The folder of the archives.
ARCHIVE = "archive"
# Returns what is wrong with the rows of a file of a table; None if nothing is.
RowCheck = Callable[[str, pa.Table], str | None]


class DataFile(msgspec.Struct, frozen=True):
    """A file to check: its table, its path in the lake, and its bytes as recorded in the log."""

    table: str
    path: str
    size: int


class Damage(msgspec.Struct, frozen=True):
    """A damaged file, what is wrong with it, and the retained releases that need it.

    ``is_current`` is True if the head or the serving release needs it.
    """

    table: str
    path: str
    reason: str
    releases: tuple[int, ...] = ()
    is_current: bool = True

    @property
    def is_archived(self) -> bool:
        """True if the file belongs to the archive of a month."""
        return self.path.startswith(f"{ARCHIVE}/")

    @property
    def line(self) -> str:
        """One line for an operator: table, file, what is wrong, and the recipe."""
        return f"{self.table}: {self.path.rpartition('/')[2]} {self.reason}; {self.remedy}"

    @property
    def remedy(self) -> str:
        """The next step."""
        if self.is_archived:
            return "run `just repair --from BACKUP`"
        if self.is_current:
            return "run `just repair`"
        which = ", ".join(map(str, self.releases))
        return f"only older releases need it ({which}), which can't be read: run `just repair --from BACKUP`"


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
    known, damages, files = read_damage(lake), [], []
    for name in every_table(lake):
        damages += log_damage(lake, name)
        files += files_of(policy, name)
    files += archived_files(lake)
    night = now.astimezone(UTC).date().toordinal() % NIGHTS
    due = [file for file in files if not share or file.path in known or night_of(file) == night]
    damages += check_files(Files(lake.place), due, deep=deep, row_check=row_check)
    damages = [with_releases(lake, policy, damage) for damage in damages]
    write_damage(lake, damages, known=known, now=now)
    without = sum(stated(file.path) is None for file in due)
    return Verified(len(due), sum(file.size for file in due), without, tuple(damages))


def files_of(policy: RetentionPolicy, name: str) -> list[DataFile]:
    """Return the data files that the retained versions and the head of a table need."""
    try:
        folder = policy.open(name)
        needed = needed_files(folder.segments(), policy.versions(name, folder.log)).files
    except (DeltaError, TableDamaged, msgspec.DecodeError):
        return []  # its log is damaged, see ``log_damage``
    place = name.replace(".", "/")
    return [DataFile(name, f"{place}/{path}", size) for path, size in sorted(needed.items())]


def archived_files(lake: Lake) -> list[DataFile]:
    """Return the data files of the archives; each of them is a lake."""
    sizes = Files(lake.place).sizes(ARCHIVE)
    months = sorted({path.split("/")[1] for path in sizes if path.count("/") > 2})
    files: list[DataFile] = []
    for place in (f"{ARCHIVE}/{month}" for month in months):
        archive = Lake(root=f"{lake.place}/{place}")
        for name in every_table(archive):
            own = data_of(archive, name, None)
            files += [DataFile(f"{place} {name}", f"{place}/{path}", size) for path, size in own.items()]
    return files


def log_damage(lake: Lake, name: str) -> list[Damage]:
    """Return the damaged files of a table's log on a disk."""
    if not lake.is_local:
        return []
    files = list_log(lake.uri(name))
    entries = [(file, entry_fault(file)) for file in files.entries.values()]
    checkpoints = [(file, checkpoint_fault(file)) for own in files.checkpoints.values() for file in own]
    return [
        Damage(name, str(file.relative_to(lake.place)), reason)
        for file, reason in [*entries, *checkpoints]
        if reason
    ]


def checkpoint_fault(file: Path) -> str | None:
    """Return what is wrong with a file of a checkpoint; None if nothing, or another process deleted it."""
    try:
        content, expected = file.read_bytes(), read_checksum(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"can't be read: {error.strerror}"
    if expected and not has_checksum(content, expected):
        return "is not as it was written: its checksum differs"
    return decoding_fault(content)


def night_of(file: DataFile) -> int:
    """Return the night, from 0 to NIGHTS - 1, in which a file is due. Pure."""
    return zlib.crc32(file.path.encode()) % NIGHTS


def check_files(
    files: Files, due: Sequence[DataFile], *, deep: bool, row_check: RowCheck | None
) -> list[Damage]:
    """Return the damage of these files; they are read concurrently."""

    def check(file: DataFile) -> str | None:
        return fault_of(files, file, deep=deep, row_check=row_check)

    with ThreadPoolExecutor(files.parallelism, thread_name_prefix="verify") as pool:
        faults = with_progress(due, pool.map(check, due))
        return [Damage(file.table, file.path, fault) for file, fault in faults if fault]


def with_progress(
    due: Sequence[DataFile], faults: Iterator[str | None]
) -> Iterator[tuple[DataFile, str | None]]:
    """Yield each file with its fault; log the progress of a long verification."""
    total, done, step = sum(file.size for file in due), 0, 1
    for number, (file, fault) in enumerate(zip(due, faults, strict=True), start=1):
        done += file.size
        if total > LONG and done * STEPS >= step * total:
            log.info("verify.progress", files=number, of=len(due), megabytes=round(done / 1e6))
            step = done * STEPS // total + 1
        yield file, fault


def fault_of(files: Files, file: DataFile, *, deep: bool, row_check: RowCheck | None) -> str | None:
    """Return what is wrong with a file; None if it is intact."""
    try:
        content = files.read(file.path)
    except LakeError:
        return "is missing"
    except OSError as error:
        return f"can't be read: {error.strerror or error}"
    if not is_intact(file.path, content):
        return "is not as it was written: its checksum differs"
    if len(content) != file.size:
        return f"has {len(content)} bytes, its table recorded {file.size}"
    if not deep and stated(file.path):
        return None
    if fault := decoding_fault(content):
        return fault
    return row_check(file.table, decoded(content)) if deep and row_check else None


def decoding_fault(content: bytes) -> str | None:
    """Return why a Parquet file can't be decoded; None if it can. Pure."""
    try:
        decoded(content)
    except (pa.ArrowException, OSError) as error:
        return f"can't be decoded: {' '.join(str(error).split())}"
    return None


def decoded(content: bytes) -> pa.Table:
    """Return the rows of a Parquet file; the checksums of its pages are verified."""
    return pq.ParquetFile(BytesIO(content), page_checksum_verification=True).read(use_threads=False)


def with_releases(lake: Lake, policy: RetentionPolicy, damage: Damage) -> Damage:
    """Return the damage with the retained releases that need the file."""
    if damage.is_archived or "/_delta_log/" in damage.path:
        return damage
    name, uri = damage.table, f"{lake.place}/{damage.path}"
    versions = {release.release: versions_of(release).get(name) for release in policy.releases}
    having = {at for at in {*versions.values()} - {None} if uri in uris_of(lake, name, at)}
    releases = tuple(sorted(number for number, at in versions.items() if at in having))
    current = current_release(lake)
    serves = current is not None and current.release in releases
    is_current = serves or uri in uris_of(lake, name, None)
    return msgspec.structs.replace(damage, releases=releases, is_current=is_current)


def versions_of(release: Release) -> dict[str, int]:
    """Return the version of each table that a release shows or was built from. Pure."""
    return {**release.tables, **release.consumed}


def uris_of(lake: Lake, name: str, version: int | None) -> Set[str]:
    """Return the files of a version; none if its log can't be read."""
    try:
        return open_table(lake, name, version).uris()
    except (LakeError, DeltaError):
        return set()


def write_damage(lake: Lake, damages: Sequence[Damage], *, known: Set[str], now: datetime) -> None:
    """Write the findings: one for each damaged file. A known one that is intact, or not needed, is healed."""
    found = {damage.path: finding_of(damage.path, damage.line, 1, now=now) for damage in damages}
    healed = {path: finding_of(path, "", 0, now=now) for path in known if path not in found}
    write_findings(lake, [*found.values(), *healed.values()])


def finding_of(path: str, example: str, rows: int, *, now: datetime) -> Finding:
    """Return the finding of one file; ``rows`` is 0 if it is intact. Pure."""
    return Finding(
        fingerprint=f"{DAMAGE}.{path}",
        state="new",
        severity="error",
        fact="the file is as it was written",
        rows=rows,
        amount=None,
        example=example,
        first_seen_at=now,
        seen_at=now,
    )
