"""Plan: files and log entries of retained versions stay, and each of those versions opens afterwards."""

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
    Stored,
    clusters,
    deletable,
    needless,
    needs,
    openable,
    wanted_checkpoints,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
versions = st.integers(0, 400)


def test_a_file_stays_while_one_kept_version_has_it() -> None:
    """From the commit that added it to the one before that removed it."""
    commits = (
        Commit(11, NOW, {"b": 2}, frozenset()),
        Commit(12, NOW, {"c": 3}, frozenset({"a", "b"})),
        Commit(13, NOW, {"d": 4}, frozenset({"c"})),
    )
    segment = Segment(10, {"a": 1}, commits)
    assert needs([segment], {10}).files == {"a": 1}
    assert needs([segment], {11}).files == {"a": 1, "b": 2}
    assert needs([segment], {12, 13}).files == {"c": 3, "d": 4}
    assert needs([segment], {13}).removed_at == dict.fromkeys("abc", NOW)
    made = Commit(10, NOW, {"a": 1}, frozenset({"z"}))
    begun = Segment(10, {"a": 1}, (), made)
    assert (needs([begun], {10}).files, needs([begun], {10}).removed_at) == ({"a": 1}, {"z": NOW})


@given(
    st.lists(st.tuples(st.booleans(), st.sets(st.integers(0, 40))), max_size=30),
    st.sets(st.integers(0, 30)),
)
def test_needed_files_are_those_of_the_kept_versions(
    history: list[tuple[bool, set[int]]], kept: set[int]
) -> None:
    """By the definition: the union of what each kept version consists of."""
    live: set[str] = {"first"}
    states = [set(live)]
    commits: list[Commit] = []
    for version, (adds, picks) in enumerate(history, 1):
        removed = frozenset(sorted(live)[pick] for pick in picks if pick < len(live))
        added = {f"file {version}": 1} if adds else {}
        live = (live - removed) | added.keys()
        states.append(set(live))
        commits.append(Commit(version, NOW, added, removed))
    found = needs([Segment(0, {"first": 1}, tuple(commits))], kept).files
    assert found.keys() == set().union(*(states[version] for version in kept if version < len(states)))


def test_vacuum_goes_by_when_a_file_was_removed_and_how_old_a_stranger_is() -> None:
    """A file of a year ago that was replaced an hour ago may have readers; one unknown may be on its way."""
    old, young = NOW - timedelta(days=365), NOW - timedelta(hours=1)
    found = [Stored(name, 1, old) for name in ("kept", "replaced", "long gone", "lost")]
    found.append(Stored("under way", 1, NOW - timedelta(hours=12)))
    segment = Segment(
        0,
        {"kept": 1, "replaced": 1, "long gone": 1},
        (Commit(1, old, {}, frozenset({"long gone"})), Commit(2, young, {}, frozenset({"replaced"}))),
    )
    gone = deletable(
        found,
        needs([segment], {2}),
        removed_before=NOW - timedelta(hours=6),
        written_before=NOW - timedelta(days=1),
    )
    assert [file.path for file in gone] == ["long gone", "lost"]


def log_of(commits: int, checkpoints: set[int]) -> Log:
    """Return a log without gaps, up to a head."""
    return Log(frozenset(range(commits + 1)), frozenset(at for at in checkpoints if at <= commits))


@given(
    versions, st.sets(versions, max_size=6), st.lists(st.sets(versions, max_size=5), min_size=1, max_size=4)
)
def test_every_kept_version_opens_after_any_row_of_clean_ups(
    head: int, checkpoints: set[int], rounds: list[set[int]]
) -> None:
    """Each round keeps fewer; what it makes and deletes leaves all that it keeps openable."""
    log = log_of(head, checkpoints)
    kept = {version for found in rounds for version in found if version <= head} | {head}
    for forgotten in rounds:
        log = Log(log.commits, log.checkpoints | set(wanted_checkpoints(log, kept, head=head)))
        gone = needless(log, kept, head=head)
        log = Log(log.commits - gone.commits, log.checkpoints - gone.checkpoints)
        assert kept <= openable(log)
        assert len(log.commits) <= (2 * NEAR + 1) * len(clusters(kept)) + max(kept) - min(kept)
        kept = (kept - forgotten) | {head}


@pytest.mark.parametrize("days", [10, 100])
def test_the_log_is_bounded_by_what_is_kept_and_not_by_age(days: int) -> None:
    """A version tagged long ago costs a checkpoint, not the whole log since."""
    per_day, log, tagged = 50, Log(frozenset({0}), frozenset()), 7
    for day in range(1, days + 1):
        head = day * per_day
        log = Log(log.commits | set(range(head - per_day, head + 1)), log.checkpoints)
        kept = {tagged, *range(max(head - 5 * per_day, 0), head + 1)}
        gone = needless(log, kept, head=head)
        log = Log(log.commits - gone.commits, log.checkpoints - gone.checkpoints)
        log = Log(log.commits, log.checkpoints | set(wanted_checkpoints(log, kept, head=head)))
        assert kept <= openable(log)
    assert len(log.commits) <= 6 * per_day + 2 * NEAR
    assert len(log.checkpoints) <= 6 * per_day // EVERY + 4
