"""Plan: which data files and log entries of a table may be deleted, and which checkpoints are missing. Pure.

Delta deletes log entries by one age and data files by another. Here both follow from the retained
versions, which ``lake.releases.retention`` derives from the releases; ``lake.maintenance.vacuum``
executes the plan. A log may have gaps: a version can be opened if the log has a checkpoint at or
before it (or version 0) and every commit after that one.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta

import msgspec

# Number of commits between two retained versions up to which a replay costs less than a checkpoint.
NEAR = 20
# Least number of commits between two checkpoints that stay.
EVERY = 100
# Age up to which a file that no log entry names may belong to a commit in progress.
UNDER_WAY = timedelta(days=1)


class Commit(msgspec.Struct, frozen=True):
    """One entry of a table's log: the sizes in bytes of the paths it added, and the paths it removed."""

    version: int
    at: datetime
    added: dict[str, int]
    removed: frozenset[str]


class Segment(msgspec.Struct, frozen=True):
    """A part of the log without gaps: the files at version ``base``, and the commits after it, in order.

    ``files`` holds sizes in bytes by path. It is empty if the segment can't be opened; then no
    retained version is in the segment. ``at_base`` is the commit of the base, if the log still has
    it; it names the files that were removed by that commit.
    """

    base: int
    files: dict[str, int]
    commits: tuple[Commit, ...]
    at_base: Commit | None = None


class Log(msgspec.Struct, frozen=True):
    """The versions of the commits and of the checkpoints in a table's log."""

    commits: frozenset[int]
    checkpoints: frozenset[int]


class StoredFile(msgspec.Struct, frozen=True):
    """One file in a table's folder: its path relative to the folder, its size in bytes, its time."""

    path: str
    size: int
    modified: datetime


class Needs(msgspec.Struct, frozen=True):
    """The files that a table's retained versions need, as bytes by path, and when files were removed."""

    files: dict[str, int]
    removed_at: dict[str, datetime]


def segments_of(log: Log) -> list[tuple[int | None, list[int]]]:
    """Return ``(base, later versions)`` of each segment of a log; base None if it can't be opened."""
    segments: list[tuple[int | None, list[int]]] = []
    last = -2
    for version in sorted(log.commits | log.checkpoints):
        if version == last + 1 and version in log.commits and not gives_base(segments[-1], version, log):
            segments[-1][1].append(version)
        elif version in log.checkpoints or version == 0:
            segments.append((version, []))
        else:
            segments.append((None, [version]))
        last = version
    return segments


def gives_base(segment: tuple[int | None, list[int]], version: int, log: Log) -> bool:
    """Return True if a segment has no base and the version's checkpoint can start a new segment."""
    return segment[0] is None and version in log.checkpoints


def openable_versions(log: Log) -> set[int]:
    """Return the versions that can be opened."""
    return {version for base, later in segments_of(log) if base is not None for version in (base, *later)}


def needed_files(segments: Iterable[Segment], retained: Collection[int]) -> Needs:
    """Return the files of the retained versions, and when files were removed."""
    marks = sorted(retained)
    needed: dict[str, int] = {}
    removed_at: dict[str, datetime] = {}
    for segment in segments:
        if base := segment.at_base:
            removed_at.update(dict.fromkeys(base.removed, base.at))
        live = {path: (segment.base, size) for path, size in segment.files.items()}
        last = segment.base
        for commit in segment.commits:
            for path in commit.removed & live.keys():
                since, size = live.pop(path)
                if is_between(marks, since, commit.version):
                    needed[path] = size
            removed_at.update(dict.fromkeys(commit.removed, commit.at))
            live.update({path: (commit.version, size) for path, size in commit.added.items()})
            last = commit.version
        needed.update(
            {path: size for path, (since, size) in live.items() if is_between(marks, since, last + 1)}
        )
    return Needs(needed, removed_at)


def is_between(marks: Sequence[int], first: int, end: int) -> bool:
    """Return True if one of the sorted marks is in ``first <= mark < end``."""
    index = bisect_left(marks, first)
    return index < len(marks) and marks[index] < end


def deletable_files(
    files: Iterable[StoredFile], need: Needs, *, removed_before: datetime, written_before: datetime
) -> list[StoredFile]:
    """Return the files that no retained version needs and no reader or writer can be using.

    A removed file must have been removed and written before ``removed_before``. A file that the
    log does not name may be committed soon, so it must have been written before ``written_before``.
    """
    return [
        file
        for file in files
        if file.path not in need.files
        and (
            max(need.removed_at[file.path], file.modified) < removed_before
            if file.path in need.removed_at
            else file.modified < written_before
        )
    ]


def clusters(versions: Iterable[int], *, near: int = NEAR) -> list[tuple[int, int]]:
    """Return ``(first, last)`` of each group of versions that are at most ``near`` apart."""
    groups: list[tuple[int, int]] = []
    for version in sorted(versions):
        if groups and version - groups[-1][1] <= near:
            groups[-1] = (groups[-1][0], version)
        else:
            groups.append((version, version))
    return groups


def base_of(first: int, log: Log) -> int | None:
    """Return the newest checkpoint, or 0, from which the log has every commit up to a version."""
    for base in range(first, -1, -1):
        if base in log.checkpoints or (base == 0 and 0 in log.commits):
            return base
        if base not in log.commits:
            return None
    return None


def missing_checkpoints(log: Log, retained: Collection[int], *, head: int) -> list[int]:
    """Return the versions that need a checkpoint: the first of each group of retained versions, and the head.

    If the log has a checkpoint at most ``NEAR`` commits before such a version, it needs none.
    """
    firsts = [(first, base_of(first, log)) for first, _ in clusters({*retained, head})]
    missing = {first for first, base in firsts if base is not None and first - base > NEAR}
    if head - max(log.checkpoints, default=0) >= NEAR:
        missing.add(head)
    return sorted(missing)


def deletable_entries(log: Log, retained: Collection[int], *, head: int) -> Log:
    """Return the log entries that neither a retained version nor the head needs.

    If a group of retained versions has no checkpoint of its own yet, the entries from its base on
    stay.
    """
    commits: set[int] = set()
    checkpoints = {max(log.checkpoints)} if log.checkpoints else set()
    for first, last in clusters({*retained, head}):
        base = base_of(first, log)
        if base is None:
            return Log(frozenset(), frozenset())
        commits.update(range(base, last + 1))
        own = sorted(version for version in log.checkpoints if base <= version <= last)
        checkpoints |= spaced_checkpoints(own)
    commits |= checkpoints
    return Log(log.commits - commits, log.checkpoints - checkpoints)


def spaced_checkpoints(checkpoints: Sequence[int], *, every: int = EVERY) -> set[int]:
    """Return the first of the sorted checkpoints, and others that are at least ``every`` commits apart."""
    chosen: list[int] = []
    for version in checkpoints:
        if not chosen or version - chosen[-1] >= every:
            chosen.append(version)
    return set(chosen)
