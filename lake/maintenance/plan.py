"""Retention: which releases, versions, files and log entries stay. Pure.

Delta has two clocks, one for the log and one for files; here both follow from one
thing, the versions that kept releases name. A log may have gaps: a version can be
opened where a checkpoint at or before it and every commit after that are there.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta

import msgspec

# Fewer commits than this between two kept versions cost less than a checkpoint.
NEAR = 20
# So many commits are replayed at most between two checkpoints that stay.
EVERY = 100
# A file that no log names may be of a commit under way for so long.
UNDER_WAY = timedelta(days=1)


class Commit(msgspec.Struct, frozen=True):
    """One entry of a table's log: the paths it added, with their bytes, and those it removed."""

    version: int
    at: datetime
    added: dict[str, int]
    removed: frozenset[str]


class Segment(msgspec.Struct, frozen=True):
    """A stretch of log without gaps: the files at ``base``, then the commits after it, in order.

    Where it can't be opened, no files are known at its base, and no kept version is in it.
    ``at_base`` is the commit that made the base, where it is still there: it says what was removed then.
    """

    base: int
    files: dict[str, int]
    commits: tuple[Commit, ...]
    at_base: Commit | None = None


class Log(msgspec.Struct, frozen=True):
    """What a table's log consists of: versions of its commits, and of its checkpoints."""

    commits: frozenset[int]
    checkpoints: frozenset[int]


class Stored(msgspec.Struct, frozen=True):
    """One file in a table's folder, by its path from there."""

    path: str
    size: int
    modified: datetime


class Needs(msgspec.Struct, frozen=True):
    """Of a table: bytes by path of the files that kept versions need, and when others were removed."""

    files: dict[str, int]
    removed_at: dict[str, datetime]


def segments_of(log: Log) -> list[tuple[int | None, list[int]]]:
    """Return ``(base, later versions)`` of every stretch of log; without a base it can't be opened."""
    found: list[tuple[int | None, list[int]]] = []
    last = -2
    for version in sorted(log.commits | log.checkpoints):
        if version == last + 1 and version in log.commits and not lacks_base(found[-1], version, log):
            found[-1][1].append(version)
        elif version in log.checkpoints or version == 0:
            found.append((version, []))
        else:
            found.append((None, [version]))
        last = version
    return found


def lacks_base(stretch: tuple[int | None, list[int]], version: int, log: Log) -> bool:
    """True where a stretch without a base could begin anew with this version's checkpoint."""
    return stretch[0] is None and version in log.checkpoints


def openable(log: Log) -> set[int]:
    """Return the versions that can be opened."""
    return {version for base, later in segments_of(log) if base is not None for version in (base, *later)}


def needs(segments: Iterable[Segment], kept: Collection[int]) -> Needs:
    """Return the files that make up the kept versions, and when files were removed."""
    marks = sorted(kept)
    needed: dict[str, int] = {}
    removed_at: dict[str, datetime] = {}
    for segment in segments:
        if made := segment.at_base:
            removed_at.update(dict.fromkeys(made.removed, made.at))
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
        needed.update({path: size for path, (at, size) in live.items() if is_between(marks, at, last + 1)})
    return Needs(needed, removed_at)


def is_between(marks: Sequence[int], first: int, end: int) -> bool:
    """True where one of the sorted marks is in ``first <= mark < end``."""
    place = bisect_left(marks, first)
    return place < len(marks) and marks[place] < end


def deletable(
    found: Iterable[Stored], need: Needs, *, removed_before: datetime, written_before: datetime
) -> list[Stored]:
    """Return the files that no kept version needs, and that nobody can be at any more.

    A file that the log does not know may be about to be committed: its own age counts.
    """
    return [
        file
        for file in found
        if file.path not in need.files
        and (
            max(need.removed_at[file.path], file.modified) < removed_before
            if file.path in need.removed_at
            else file.modified < written_before
        )
    ]


def clusters(versions: Iterable[int], *, near: int = NEAR) -> list[tuple[int, int]]:
    """Return ``(first, last)`` of the groups of versions that lie near one another."""
    found: list[tuple[int, int]] = []
    for version in sorted(versions):
        if found and version - found[-1][1] <= near:
            found[-1] = (found[-1][0], version)
        else:
            found.append((version, version))
    return found


def base_of(first: int, log: Log) -> int | None:
    """Return the checkpoint, or 0, from which the log leads to a version without a gap."""
    for base in range(first, -1, -1):
        if base in log.checkpoints or (base == 0 and 0 in log.commits):
            return base
        if base not in log.commits:
            return None
    return None


def wanted_checkpoints(log: Log, kept: Collection[int], *, head: int) -> list[int]:
    """Return the versions to make checkpoints of: where a stretch of kept ones begins, and the head.

    There is none where one lies near before it.
    """
    begins = [(first, base_of(first, log)) for first, _ in clusters({*kept, head})]
    wanted = {first for first, base in begins if base is not None and first - base > NEAR}
    if head - max(log.checkpoints, default=0) >= NEAR:
        wanted.add(head)
    return sorted(wanted)


def needless(log: Log, kept: Collection[int], *, head: int) -> Log:
    """Return the log entries without which every kept version, and the head, opens as before.

    Where a stretch has no base of its own yet, it is read from the one before, which stays.
    """
    commits: set[int] = set()
    checkpoints = {max(log.checkpoints)} if log.checkpoints else set()
    for first, last in clusters({*kept, head}):
        base = base_of(first, log)
        if base is None:
            return Log(frozenset(), frozenset())
        commits.update(range(base, last + 1))
        checkpoints |= spaced(sorted(at for at in log.checkpoints if base <= at <= last))
    commits |= checkpoints
    return Log(log.commits - commits, log.checkpoints - checkpoints)


def spaced(checkpoints: Sequence[int], *, every: int = EVERY) -> set[int]:
    """Return the first checkpoint, and of the others those that spare a long replay."""
    found: list[int] = []
    for version in checkpoints:
        if not found or version - found[-1] >= every:
            found.append(version)
    return set(found)
