"""Copy: table versions, copied byte by byte from a lake to another place: data files and log files.

The copy of a log begins with the last checkpoint at or before the oldest version to copy, and has
every commit from there to the newest version to copy. Files are not rewritten, so a version has the
same number, rows and bytes in the copy.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from urllib.parse import unquote

import msgspec
import structlog

from lake.delta.checksum import is_intact, repaired
from lake.delta.checksum_file import SUFFIX
from lake.delta.damage import REPAIR, damaged_files
from lake.delta.files import Files
from lake.delta.log_entry import fault, version_of
from lake.delta.tables import data_of
from lake.errors import LakeError, TableDamaged
from lake.paths import LAYERS, Lake
from lake.releases.release import Release
from lake.releases.released_table import open_released

log = structlog.get_logger()
Versions = Mapping[str, tuple[int, ...]]
Sizes = dict[str, int]
CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(?:\.\d{10}\.(\d{10}))?\.parquet")
ARCHIVE = "archive"


class Copied(msgspec.Struct, frozen=True):
    """The result of a copy: its release, and the numbers of copied files and bytes.

    ``held`` is the number of files that were in the place already, ``pruned`` that of deleted ones.
    """

    release: int
    files: int
    bytes: int
    held: int
    pruned: int = 0


class TableFiles(msgspec.Struct, frozen=True):
    """The files to copy of one table: data, and the log in the order of copying.

    ``versions`` are those that can be opened in the copy.
    """

    data: Sizes
    log: tuple[str, ...]
    versions: frozenset[int]


class Copy:
    """One running copy: the files that the target had before, and those that belong to the copy."""

    def __init__(self, lake: Lake, target: Files, versions: Versions, *, remedy: str = REPAIR) -> None:
        self._lake = lake
        self._remedy = remedy
        self._source = Files(lake.place)
        self._versions = versions
        self.target = target
        self.openable: dict[str, frozenset[int]] = {}
        self._present = target.sizes()
        self._needed: set[str] = set()
        self._files = self._bytes = 0

    def run(self, release: Release) -> Copied:
        """Copy all data files, then the logs in the order of the versions; return the numbers.

        After that ``openable`` has the versions of each table that can be opened in the target. Raises
        LakeError if a file is missing or damaged.
        """
        check_rows(self._lake, release)
        tables = {name: self._table_files(name, versions) for name, versions in self._versions.items()}
        for table in tables.values():
            self._copy_data(table.data)
        self._copy_data(self._archived())
        for table in tables.values():
            for path in table.log:
                self._copy_log(path)
        self.openable = {name: table.versions for name, table in tables.items()}
        held = len(self._needed) - self._files
        return Copied(release.release, self._files, self._bytes, held)

    def prune(self) -> int:
        """Delete the files of tables that the target had before and this copy does not need; return how many.

        Newer files are not deleted, because they may belong to another backup.
        """
        layers = tuple(f"{layer}/" for layer in LAYERS)
        tables = {path for path in self._present if path.startswith(layers)}
        stale = {path for path in tables if path.removesuffix(SUFFIX) not in self._needed}
        self.target.delete(sorted(stale))
        return len(stale)

    def _table_files(self, name: str, versions: tuple[int, ...]) -> TableFiles:
        """Return the files to copy of a table.

        ``_last_checkpoint`` is not copied, because it may point to a checkpoint that is not copied.
        """
        folder = name.replace(".", "/")
        sizes = self._source.sizes(folder)
        logs = {path.rpartition("/")[2] for path in sizes if path.startswith(f"{folder}/_delta_log/")}
        # If a clean-up has interrupted the change feed, only the versions are copied. A build then compares
        # their rows.
        is_fed = name.startswith("bronze.") and is_unbroken(logs, versions)
        spans = [(versions[0], versions[-1])] if is_fed else [(version, version) for version in versions]
        log = tuple(f"{folder}/_delta_log/{file}" for file in needed_log(name, logs, spans))
        data: Sizes = {}
        for version in versions:
            data |= data_of(self._lake, name, version)
        if is_fed:
            data |= self._changes(folder, log, versions, sizes)
        whole = (version for first, last in spans for version in range(first, last + 1))
        return TableFiles(data, log, frozenset(whole))

    def _changes(self, folder: str, log: Iterable[str], versions: tuple[int, ...], sizes: Sizes) -> Sizes:
        """Return the files that were added after the first version; the change feed reads them."""
        commits = [path for path in log if path.endswith(".json") and number(path) > versions[0]]
        paths = {f"{folder}/{added}" for path in commits for added in additions(self._source.read(path))}
        return {path: sizes[path] for path in paths if path in sizes}

    def _archived(self) -> Sizes:
        """Return the files of the month-end archives; the record of each archive is its last file."""
        sizes = self._source.sizes(ARCHIVE)
        return {path: sizes[path] for path in sorted(sizes, key=lambda path: ("/ops/" in path, path))}

    def _copy_data(self, sizes: Sizes) -> None:
        for path, size in sizes.items():
            self._needed.add(path)
            is_held = self._present.get(path) == size and self._is_intact(path)
            if is_held and not self._lake.is_local:
                continue  # a store has checksums of its own
            content = self._checked(path, size)
            if not is_held:
                self._count(self.target.write(path, [content]))

    def _checked(self, path: str, size: int) -> bytes:
        """Return the content of a file of the source as it was written.

        Raises TableDamaged if it is damaged by more than one bit.
        """
        content = self._source.read(path)
        if "/_delta_log/" in path and path.endswith(".json") and (reason := fault(content, version_of(path))):
            raise TableDamaged(f"{self._lake.place}/{path} {reason}; {self._remedy}")
        if not is_intact(path, content) and (before := repaired(path, content)) is not None:
            log.warning("copy.bit_flipped_back", path=path, place=self._lake.place)
            content = before
        if len(content) != size or not is_intact(path, content):
            raise TableDamaged(
                f"{self._lake.place}/{path} has {len(content)} bytes, its table recorded {size}: it is not as"
                f" it was written; {self._remedy}"
            )
        return content

    def _is_intact(self, path: str) -> bool:
        """True if the target's own file is intact; a damaged one is replaced."""
        return not damaged_files([f"{self.target.place}/{path}"])

    def _copy_log(self, path: str) -> None:
        """Copy a file of a log unless the target has the same content; equal names do not prove this."""
        self._needed.add(path)
        content = self._source.read(path)
        if path.endswith(".json") and (reason := fault(content, version_of(path))):
            raise TableDamaged(f"{self._lake.place}/{path} {reason}; {self._remedy}")
        if path not in self._present or self.target.read(path) != content:
            self._count(self.target.write(path, [content]))

    def _count(self, size: int) -> int:
        self._files += 1
        self._bytes += size
        return size


def check_rows(lake: Lake, release: Release) -> None:
    """Raise TableDamaged if a table does not have the rows that its release recorded. Only logs are read."""
    for name in release.rows:
        open_released(lake, release, name)


def is_unbroken(logs: Collection[str], versions: tuple[int, ...]) -> bool:
    """True if a log has every commit after the first version, up to the last one. Pure."""
    return all(commit_of(version) in logs for version in range(versions[0] + 1, versions[-1] + 1))


def needed_log(name: str, logs: Iterable[str], spans: Iterable[tuple[int, int]]) -> list[str]:
    """Return the log files that are needed to open every version of each span (first, last). Pure.

    Between spans a log may have gaps. Raises LakeError if one of the files is missing.
    """
    present = set(logs)
    needed: set[str] = set()
    for first, last in spans:
        base = max((version for version in checkpoints(present) if version <= first), default=None)
        commits = [commit_of(version) for version in range(0 if base is None else base + 1, last + 1)]
        if missing := [commit for commit in commits if commit not in present]:
            raise LakeError(f"{name}: {missing[0]} is missing in its log, version {last} can't be read")
        needed.update(commits)
        if base is not None:
            # The state does not need the checkpoint's own commit; it is part of the history if it exists.
            own = checkpoints(present)[base]
            needed.update(own, present & {commit_of(base), *(file + SUFFIX for file in own)})
    return sorted(needed)


def commit_of(version: int) -> str:
    """Return the file name of the commit that made a version. Pure."""
    return f"{version:020}.json"


def checkpoints(logs: Iterable[str]) -> dict[int, list[str]]:
    """Return ``{version: files}`` of the complete checkpoints, those with all of their files. Pure."""
    files: dict[int, list[str]] = {}
    expected: dict[int, int] = {}
    for match in filter(None, map(CHECKPOINT.fullmatch, sorted(logs))):
        files.setdefault(int(match[1]), []).append(match[0])
        expected[int(match[1])] = int(match[2] or 1)
    return {version: names for version, names in files.items() if len(names) >= expected[version]}


def number(path: str) -> int:
    """Return the version that the commit at ``path`` made. Pure."""
    return int(path.rpartition("/")[2].partition(".")[0])


def additions(commit: bytes) -> list[str]:
    """Return the paths of the files that a commit added. Pure."""
    actions = map(msgspec.json.decode, commit.splitlines())
    return [unquote(action["add"]["path"]) for action in actions if "add" in action]
