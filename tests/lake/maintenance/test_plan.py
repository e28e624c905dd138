"""Plan: the files and log entries of retained versions stay, and each such version still opens."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.maintenance.plan import (
    EVERY,
    NEAR,
    Commit,
    Log,
    Segment,
    StoredFile,
    clusters,
    deletable_entries,
    deletable_files,
    missing_checkpoints,
    needed_files,
    openable_versions,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
versions = st.integers(0, 400)


def test_a_file_stays_while_a_retained_version_has_it() -> None:
    """A version has a file from the commit that added it until the commit that removed it."""
    commits = (
        Commit(11, NOW, {"b": 2}, frozenset()),
        Commit(12, NOW, {"c": 3}, frozenset({"a", "b"})),
        Commit(13, NOW, {"d": 4}, frozenset({"c"})),
    )
    segment = Segment(10, {"a": 1}, commits)
    assert needed_files([segment], {10}).files == {"a": 1}
    assert needed_files([segment], {11}).files == {"a": 1, "b": 2}
    assert needed_files([segment], {12, 13}).files == {"c": 3, "d": 4}
    assert needed_files([segment], {13}).removed_at == dict.fromkeys("abc", NOW)
    base = Commit(10, NOW, {"a": 1}, frozenset({"z"}))
    short = Segment(10, {"a": 1}, (), base)
    assert (needed_files([short], {10}).files, needed_files([short], {10}).removed_at) == (
        {"a": 1},
        {"z": NOW},
    )


@given(
    st.lists(st.tuples(st.booleans(), st.sets(st.integers(0, 40))), max_size=30),
    st.sets(st.integers(0, 30)),
)
def test_needed_files_are_those_of_the_retained_versions(
    history: list[tuple[bool, set[int]]], retained: set[int]
) -> None:
    """The needed files are the union of the files of each retained version."""
    live: set[str] = {"first"}
    states = [set(live)]
    commits: list[Commit] = []
    for version, (adds, picks) in enumerate(history, 1):
        removed = frozenset(sorted(live)[pick] for pick in picks if pick < len(live))
        added = {f"file {version}": 1} if adds else {}
        live = (live - removed) | added.keys()
        states.append(set(live))
        commits.append(Commit(version, NOW, added, removed))
    files = needed_files([Segment(0, {"first": 1}, tuple(commits))], retained).files
    assert files.keys() == set().union(*(states[version] for version in retained if version < len(states)))


def test_vacuum_uses_the_time_of_removal_and_the_age_of_unknown_files() -> None:
    """An old file that was just replaced may have readers; a young unknown file may be committed soon."""
    old, young = NOW - timedelta(days=365), NOW - timedelta(hours=1)
    files = [StoredFile(name, 1, old) for name in ("kept", "replaced", "long removed", "lost")]
    files.append(StoredFile("under way", 1, NOW - timedelta(hours=12)))
    segment = Segment(
        0,
        {"kept": 1, "replaced": 1, "long removed": 1},
        (Commit(1, old, {}, frozenset({"long removed"})), Commit(2, young, {}, frozenset({"replaced"}))),
    )
    deletable = deletable_files(
        files,
        needed_files([segment], {2}),
        removed_before=NOW - timedelta(hours=6),
        written_before=NOW - timedelta(days=1),
    )
    assert [file.path for file in deletable] == ["long removed", "lost"]


def log_of(commits: int, checkpoints: set[int]) -> Log:
    """Return a log without gaps: ``commits`` commits after version 0, and some checkpoints."""
    return Log(
        frozenset(range(commits + 1)), frozenset(version for version in checkpoints if version <= commits)
    )


@given(
    versions, st.sets(versions, max_size=6), st.lists(st.sets(versions, max_size=5), min_size=1, max_size=4)
)
def test_every_retained_version_opens_after_any_clean_ups(
    head: int, checkpoints: set[int], rounds: list[set[int]]
) -> None:
    """Each round retains fewer versions, and all that it retains can be opened afterwards."""
    log = log_of(head, checkpoints)
    retained = {version for versions in rounds for version in versions if version <= head} | {head}
    for forgotten in rounds:
        log = Log(log.commits, log.checkpoints | set(missing_checkpoints(log, retained, head=head)))
        deletable = deletable_entries(log, retained, head=head)
        log = Log(log.commits - deletable.commits, log.checkpoints - deletable.checkpoints)
        assert retained <= openable_versions(log)
        assert len(log.commits) <= (2 * NEAR + 1) * len(clusters(retained)) + max(retained) - min(retained)
        retained = (retained - forgotten) | {head}


@pytest.mark.parametrize("days", [10, 100])
def test_the_log_is_bounded_by_retention_and_not_by_age(days: int) -> None:
    """A version that was tagged long ago costs one checkpoint, and not the whole log since then."""
    per_day, log, tagged = 50, Log(frozenset({0}), frozenset()), 7
    for day in range(1, days + 1):
        head = day * per_day
        log = Log(log.commits | set(range(head - per_day, head + 1)), log.checkpoints)
        retained = {tagged, *range(max(head - 5 * per_day, 0), head + 1)}
        deletable = deletable_entries(log, retained, head=head)
        log = Log(log.commits - deletable.commits, log.checkpoints - deletable.checkpoints)
        log = Log(log.commits, log.checkpoints | set(missing_checkpoints(log, retained, head=head)))
        assert retained <= openable_versions(log)
    assert len(log.commits) <= 6 * per_day + 2 * NEAR
    assert len(log.checkpoints) <= 6 * per_day // EVERY + 4
