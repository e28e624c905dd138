"""Copy: table versions from a lake to a place, as they lie: data files, and the log that yields them.

Of a log goes what the oldest version wanted needs: the checkpoint at or before it, and
every commit from there to the newest one wanted. Nothing of it is written anew, so a
version has the same number, rows and bytes in the copy.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from urllib.parse import unquote

import msgspec

from lake.delta.files import Files
from lake.delta.table import data_of, open_table
from lake.errors import LakeError
from lake.paths import LAYERS, Lake
from lake.releases.release import Release

Versions = Mapping[str, tuple[int, ...]]
Sizes = dict[str, int]
CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(?:\.\d{10}\.(\d{10}))?\.parquet")
ARCHIVE = "archive"


class Copied(msgspec.Struct, frozen=True):
    """What a copy was: the release, what was carried, files that were there already, files removed."""

    release: int
    files: int
    bytes: int
    held: int
    pruned: int = 0


class Part(msgspec.Struct, frozen=True):
    """Of one table, what is copied: data files, the log in the order to copy it; and whole versions."""

    data: Sizes
    log: tuple[str, ...]
    versions: frozenset[int]


class Copy:
    """One copy while it lasts: what is at the target already, and what was wanted there."""

    def __init__(self, lake: Lake, target: Files, versions: Versions) -> None:
        self._lake = lake
        self._source = Files(lake.place)
        self._versions = versions
        self.target = target
        self.given: dict[str, frozenset[int]] = {}
        self._there = target.sizes()
        self._wanted: set[str] = set()
        self._files = self._bytes = 0

    def run(self, release: Release) -> Copied:
        """Copy data, then logs, in the order of the versions; ``given`` says what can be opened there then.

        Raises LakeError where a file is missing.
        """
        check_rows(self._lake, release)
        found = {name: self._part(name, versions) for name, versions in self._versions.items()}
        parts = list(found.values())
        for part in parts:
            self._carry(part.data)
        self._carry(self._archived())
        for part in parts:
            for path in part.log:
                self._carry_log(path)
        self.given = {name: part.versions for name, part in found.items()}
        held = len(self._wanted) - self._files
        return Copied(release.release, self._files, self._bytes, held)

    def prune(self) -> int:
        """Delete from the target's tables what was there before and is not wanted; return how many files.

        What came since may be another backup's.
        """
        layers = tuple(f"{layer}/" for layer in LAYERS)
        stale = [path for path in self._there if path.startswith(layers) and path not in self._wanted]
        self.target.delete(sorted(stale))
        return len(stale)

    def _part(self, name: str, versions: tuple[int, ...]) -> Part:
        """Return what of a table is copied: not the log's hint, which may name a checkpoint that is not."""
        folder = name.replace(".", "/")
        sizes = self._source.sizes(folder)
        logs = {path.rpartition("/")[2] for path in sizes if path.startswith(f"{folder}/_delta_log/")}
        # Where a clean-up cut the feed, the versions are copied alone: a build compares their rows then.
        is_fed = name.startswith("bronze.") and is_unbroken(logs, versions)
        spans = [(versions[0], versions[-1])] if is_fed else [(version, version) for version in versions]
        log = tuple(f"{folder}/_delta_log/{file}" for file in needed_log(name, logs, spans))
        data: Sizes = {}
        for version in versions:
            data |= data_of(self._lake, name, version)
        if is_fed:
            data |= self._changes(folder, log, versions, sizes)
        whole = (version for first, last in spans for version in range(first, last + 1))
        return Part(data, log, frozenset(whole))

    def _changes(self, folder: str, log: Iterable[str], versions: tuple[int, ...], sizes: Sizes) -> Sizes:
        """Return what was added between the versions: the change feed is read from it."""
        commits = [path for path in log if path.endswith(".json") and number(path) > versions[0]]
        paths = {f"{folder}/{added}" for path in commits for added in additions(self._source.read(path))}
        return {path: sizes[path] for path in paths if path in sizes}

    def _archived(self) -> Sizes:
        """Return the files of the month-end archives, each archive's own record last."""
        sizes = self._source.sizes(ARCHIVE)
        return {path: sizes[path] for path in sorted(sizes, key=lambda path: ("/ops/" in path, path))}

    def _carry(self, sizes: Sizes) -> None:
        for path, size in sizes.items():
            self._wanted.add(path)
            if self._there.get(path) != size and (found := self._count(path)) != size:
                raise LakeError(
                    f"{self._lake.place}/{path} has {found} bytes, its table says {size}: it is damaged"
                )

    def _carry_log(self, path: str) -> None:
        """Copy a file of a log unless the very same is there: a name alone says nothing of its content."""
        self._wanted.add(path)
        content = self._source.read(path)
        if path not in self._there or self.target.read(path) != content:
            self._count_bytes(self.target.write(path, [content]))

    def _count(self, path: str) -> int:
        return self._count_bytes(self.target.copy(self._source, path))

    def _count_bytes(self, size: int) -> int:
        self._files += 1
        self._bytes += size
        return size


def check_rows(lake: Lake, release: Release) -> None:
    """Raise LakeError where a table has not the rows that its release recorded; reads no row."""
    for name, rows in release.rows.items():
        found = sum(file.rows for file in open_table(lake, name, release.tables[name]).files())
        if found != rows:
            raise LakeError(
                f"{lake.place}: {name} has {found} rows, release {release.release} was published with {rows}"
            )


def is_unbroken(logs: Collection[str], versions: tuple[int, ...]) -> bool:
    """True where a log has every commit from the first to the last of some versions. Pure."""
    return all(commit_of(version) in logs for version in range(versions[0] + 1, versions[-1] + 1))


def needed_log(name: str, logs: Iterable[str], spans: Iterable[tuple[int, int]]) -> list[str]:
    """Return the log's files that yield every version from the first to the last of each span. Pure.

    Between spans a log may have gaps. Raises LakeError where one of the files is missing.
    """
    found = set(logs)
    needed: set[str] = set()
    for first, last in spans:
        at = max((at for at in checkpoints(found) if at <= first), default=None)
        commits = [commit_of(version) for version in range(0 if at is None else at + 1, last + 1)]
        if missing := [commit for commit in commits if commit not in found]:
            raise LakeError(f"{name}: {missing[0]} is gone from its log, version {last} can't be read")
        needed.update(commits)
        if at is not None:
            # The checkpoint's own commit is no part of the state, but of the history where it is still there.
            needed.update(checkpoints(found)[at], {commit_of(at)} & found)
    return sorted(needed)


def commit_of(version: int) -> str:
    """Return the name of a commit's file. Pure."""
    return f"{version:020}.json"


def checkpoints(logs: Iterable[str]) -> dict[int, list[str]]:
    """Return the files of each checkpoint of which every part is there, by version. Pure."""
    files: dict[int, list[str]] = {}
    wanted: dict[int, int] = {}
    for match in filter(None, map(CHECKPOINT.fullmatch, sorted(logs))):
        files.setdefault(int(match[1]), []).append(match[0])
        wanted[int(match[1])] = int(match[2] or 1)
    return {at: parts for at, parts in files.items() if len(parts) >= wanted[at]}


def number(path: str) -> int:
    """Return the version that a commit made. Pure."""
    return int(path.rpartition("/")[2].partition(".")[0])


def additions(commit: bytes) -> list[str]:
    """Return the paths of the files that a commit added. Pure."""
    actions = map(msgspec.json.decode, commit.splitlines())
    return [unquote(action["add"]["path"]) for action in actions if "add" in action]
