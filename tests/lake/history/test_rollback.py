"""Rollback: an older release serves again, a resume lifts the hold, and no release is lost."""

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from lake.delta.contract import Contract
from lake.delta.tables import create_table, open_table
from lake.errors import CommitConflict, LakeError, NoRelease, UsageError
from lake.history.rollback import parent_of, run_resume, run_rollback
from lake.paths import Lake
from lake.query.session import fetch, open_session
from lake.releases.asof import refuse_absent, resolve
from lake.releases.release import RELEASES, Release, find_release, list_releases, publish
from lake.releases.tags import remove_tag, write_tag
from tests.support.release_history import ENGINE, NOON, commit, publish_ids, read_bytes, release_of
from tests.support.simulated_lake import renamed

LATER = NOON + timedelta(days=1)


def current(lake: Lake) -> Release:
    """Return the newest release."""
    return find_release(lake, None)


def back(lake: Lake, number: int | None = None, *, now: datetime = LATER) -> Release:
    """Roll back to a release, or to the parent."""
    newest = current(lake)
    target = parent_of(lake, newest) if number is None else find_release(lake, number)
    return run_rollback(lake, target, current=newest, now=now, settings=ENGINE)


def observe(lake: Lake, run_id: str) -> None:
    """Append a row of a run to a bronze table."""
    schema = Contract.of({"id": "BIGINT", "run_id": "VARCHAR"}).schema
    rows = pa.table({"id": [1], "run_id": [run_id]}, schema=schema)
    create_table(lake, "bronze.things", schema).append(rows)


def test_after_a_rollback_every_answer_is_that_of_the_old_release(lake: Lake) -> None:
    """The answers are equal to the byte, and the new release is marked as a rollback."""
    first = publish_ids(lake, 1, 2)
    answers = read_bytes(lake, first)
    second = publish_ids(lake, 3)
    made = back(lake)
    assert made == current(lake)
    assert (made.release, made.kind, made.parent, made.is_held) == (3, "rollback", 2, True)
    assert made.tables == first.tables
    assert (made.rows, made.money, made.models_hash) == (first.rows, first.money, first.models_hash)
    assert made.complete_through == first.complete_through
    assert read_bytes(lake, made) == answers != read_bytes(lake, second)


def test_a_rollback_records_moves_from_the_ledger(lake: Lake) -> None:
    """It records one move, without a month, for each table whose version changes."""
    publish_ids(lake, 1, 2)
    publish_ids(lake, 3)
    moves = {move.table: move for move in back(lake).moved}
    assert moves.keys() == {"silver.things", "gold.sums"}
    sums = moves["gold.sums"]
    assert (sums.month, sums.rows_before, sums.rows_after) == (None, 1, 2)
    assert (sums.money_before, sums.money_after) == (Decimal(1), Decimal(2))


def test_a_rollback_opens_no_table_but_the_ledger(lake: Lake, tmp_path: Path) -> None:
    """A rollback works even if the folders of silver and gold are missing."""
    answers = read_bytes(lake, publish_ids(lake, 1))
    publish_ids(lake, 2)
    for layer in ("silver", "gold"):
        (tmp_path / "lake" / layer).rename(tmp_path / layer)
    made = back(lake)
    for layer in ("silver", "gold"):
        (tmp_path / layer).rename(tmp_path / "lake" / layer)
    assert read_bytes(lake, made) == answers


def test_a_second_rollback_undoes_the_first(lake: Lake) -> None:
    """The parent of a rollback is the release that served before it."""
    publish_ids(lake, 1)
    newer = publish_ids(lake, 2)
    back(lake)
    again = back(lake)
    assert again.tables == newer.tables
    assert again.is_held


def test_a_step_back_skips_a_resume(lake: Lake) -> None:
    """A resume serves the same tables as the rollback before it, so both go back to the same release."""
    first, newer = publish_ids(lake, 1), publish_ids(lake, 2)
    made = back(lake)
    resumed = run_resume(lake, now=LATER)
    assert resumed
    assert parent_of(lake, resumed) == parent_of(lake, made) == newer
    with pytest.raises(
        UsageError, match=f"release {made.release} is serving already, as release {resumed.release}"
    ):
        run_rollback(lake, made, current=resumed, now=LATER, settings=ENGINE)
    assert back(lake).tables == newer.tables != first.tables


def test_steps_back_alternate_after_a_rollback_and_a_resume(lake: Lake) -> None:
    """After a resume without the bad run, a step back serves the bad release, and the next step does not."""
    publish_ids(lake, 1)
    observe(lake, "bad")
    bad = publish_ids(lake, 2)
    first = back(lake)
    assert run_resume(lake, exclude=["bad"], now=LATER)
    assert back(lake).tables == bad.tables
    assert run_resume(lake, now=LATER)
    assert back(lake).tables == first.tables


def test_a_rollback_to_what_is_serving_is_refused(lake: Lake) -> None:
    """Such a rollback would only hold publishing."""
    publish_ids(lake, 1)
    publish_ids(lake, 2)
    made = back(lake, 1)
    with pytest.raises(UsageError, match=f"release 1 is serving already, as release {made.release}"):
        back(lake, 1)


def test_a_build_that_began_before_a_resume_does_not_follow_it(lake: Lake) -> None:
    """A resume may exclude runs that the build has read."""
    publish_ids(lake, 1)
    publish_ids(lake, 2)
    made = back(lake)
    resumed = run_resume(lake, now=LATER)
    assert resumed
    late = renamed(made, release=made.release + 1, parent=made.release, kind="sync", is_held=False)
    with pytest.raises(CommitConflict, match=f"release {resumed.release} was published in the meantime"):
        publish(lake, late)


def test_a_reader_of_the_newer_release_goes_on(lake: Lake) -> None:
    """A rollback deletes no file of the newer release."""
    publish_ids(lake, 1)
    session = open_session(lake, ENGINE, publish_ids(lake, 2))
    back(lake)
    assert fetch(session, "from gold.sums")["id"].to_pylist() == [2]


def test_while_held_only_a_resume_or_a_held_release_is_published(lake: Lake) -> None:
    """The message names the release that holds publishing, and the command that lifts the hold."""
    publish_ids(lake, 1)
    publish_ids(lake, 2)
    held = back(lake)
    with pytest.raises(LakeError, match=r"held since release 3 \(rollback\); `just resume` lifts it"):
        publish_ids(lake, 3)
    assert current(lake) == held
    resumed = run_resume(lake, now=LATER)
    assert resumed == current(lake)
    assert (resumed.kind, resumed.parent, resumed.is_held, resumed.moved) == ("resume", 3, False, ())
    assert resumed.tables == held.tables
    assert publish_ids(lake, 3).release == 5


def test_nothing_to_resume_publishes_nothing(lake: Lake) -> None:
    """A resume publishes nothing if there is no hold and no run changes."""
    publish_ids(lake, 1)
    assert run_resume(lake, now=LATER) is None
    assert current(lake).release == 1


def test_runs_are_excluded_and_included_again(lake: Lake) -> None:
    """Each change of the excluded runs forces the next build, with a hold or without."""
    publish_ids(lake, 1)
    publish_ids(lake, 2)
    observe(lake, "b")
    observe(lake, "a")
    back(lake)
    for exclude, include, left in ((["b", "a"], [], ("a", "b")), ([], ["b"], ("a",)), ([], ["a"], ())):
        made = run_resume(lake, exclude=exclude, include=include, now=LATER)
        assert made
        assert (made.excluded_runs, made.models_hash, made.is_held) == (left, "", False)
    assert run_resume(lake, now=LATER) is None


def test_a_rollback_brings_the_old_releases_exclusions_back(lake: Lake) -> None:
    """The excluded runs belong to the release that serves again."""
    publish_ids(lake, 1)
    observe(lake, "a")
    assert run_resume(lake, exclude=["a"], now=LATER)
    with pytest.raises(NoRelease, match="release 2 serves the same as the first, release 1: there is no"):
        back(lake)
    assert back(lake, 1).excluded_runs == ()
    assert back(lake).excluded_runs == ("a",)


@pytest.mark.parametrize(
    ("exclude", "include", "message"),
    [
        (["no"], [], "run no: no such run"),
        ([], ["no"], "run no is not excluded; no run is excluded"),
        (["a"], ["a"], "run a can't be both excluded and included"),
    ],
)
def test_wrong_runs_are_refused(lake: Lake, exclude: list[str], include: list[str], message: str) -> None:
    """A refused resume publishes nothing."""
    publish_ids(lake, 1)
    observe(lake, "a")
    with pytest.raises(UsageError, match=message):
        run_resume(lake, exclude=exclude, include=include, now=LATER)
    assert current(lake).release == 1


def test_there_is_no_rollback_from_the_first_release_nor_to_the_newest(lake: Lake) -> None:
    """Each has a message of its own."""
    publish_ids(lake, 1)
    with pytest.raises(NoRelease, match="release 1 is the first"):
        back(lake)
    with pytest.raises(UsageError, match="release 1 is serving already; name an older"):
        back(lake, 1)


def test_a_release_that_is_no_longer_retained_is_refused(lake: Lake) -> None:
    """Its files may be deleted, unless a tag or a retained release of the same versions retains them."""
    publish_ids(lake, 1)
    publish_ids(lake, 2)
    publish_ids(lake, 3)
    with pytest.raises(NoRelease, match="the last release of that day is retained: 2026-06-01"):
        back(lake, 1, now=NOON + timedelta(days=3))
    late = NOON + timedelta(days=120)
    with pytest.raises(NoRelease, match="release 1 is of 2026-06-01 and has no tag: it is older"):
        back(lake, 1, now=late)
    write_tag(lake, find_release(lake, 1), "audit", now=NOON)
    assert back(lake, 1, now=late).release == 4
    remove_tag(lake, "audit", now=NOON + timedelta(days=1))
    assert back(lake, now=late).release == 5
    assert back(lake, 1, now=late).release == 6


def race(*publishers: Callable[[], object]) -> list[object]:
    """Run the publishers concurrently; return the result or the conflict of each."""
    start = threading.Barrier(len(publishers), timeout=300)
    results: list[object] = []

    def run(publisher: Callable[[], object]) -> None:
        start.wait()
        try:
            results.append(publisher())
        except CommitConflict as conflict:
            results.append(conflict)

    threads = [threading.Thread(target=run, args=[publisher]) for publisher in publishers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_one_of_concurrent_publishers_wins(lake: Lake) -> None:
    """The others fail with a message that nothing was written."""
    publish_ids(lake, 1)
    newest = publish_ids(lake, 2)
    first = find_release(lake, 1)
    rival = release_of(lake, {"gold.sums": commit(lake, "gold.sums", 9)}, rows=1, at=LATER)
    results = race(
        lambda: publish(lake, rival),
        lambda: run_rollback(lake, first, current=newest, now=LATER, settings=ENGINE),
        lambda: run_rollback(lake, first, current=newest, now=LATER, settings=ENGINE),
    )
    conflicts = [result for result in results if isinstance(result, CommitConflict)]
    assert len(conflicts) == 2
    assert all("nothing was written" in str(conflict) for conflict in conflicts)
    assert [release.release for release in list_releases(lake)] == [3, 2, 1]


def test_a_concurrent_compaction_of_the_ledger_stops_no_publisher(lake: Lake) -> None:
    """A commit to the ledger that adds no release is no conflict."""
    publish_ids(lake, 1)
    done = threading.Event()

    def compact() -> None:
        while not done.is_set():
            try:
                DeltaTable(lake.uri(RELEASES)).optimize.compact()
            except Exception:  # a publisher committed first; try again
                continue

    compaction = threading.Thread(target=compact)
    compaction.start()
    try:
        for number in range(2, 10):
            publish_ids(lake, number)
    finally:
        done.set()
        compaction.join()
    assert [release.release for release in list_releases(lake)] == list(range(9, 0, -1))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(0, 3)),
        st.tuples(st.just("crash"), st.integers(0, 3)),
        st.tuples(st.just("rollback"), st.integers(0, 8)),
        st.tuples(st.just("resume"), st.sets(st.sampled_from(["a", "b"]))),
    ),
    max_size=7,
)


def step(lake: Lake, kind: str, what: object) -> None:
    """Do one action on the lake; a refused action changes nothing."""
    newest = current(lake)
    now = NOON + timedelta(hours=newest.release)
    if kind == "publish" and isinstance(what, int) and not newest.is_held:
        publish_ids(lake, *range(what))
    elif kind == "crash" and isinstance(what, int):
        commit(lake, "gold.sums", *range(100, 100 + what))
    elif kind == "rollback" and isinstance(what, int):
        target = find_release(lake, what % newest.release + 1)
        with suppress(UsageError):  # the target is serving already
            run_rollback(lake, target, current=newest, now=now, settings=ENGINE)
    elif kind == "resume" and isinstance(what, set):
        include = set(newest.excluded_runs) - what
        run_resume(lake, exclude=sorted(what), include=sorted(include), now=now)


@pytest.mark.slow
@settings(max_examples=12, phases=[Phase.explicit, Phase.generate])
@given(steps=STEPS)
def test_every_release_reads_as_when_it_was_published(
    steps: list[tuple[str, object]],
) -> None:
    """After random actions, each release reads the same by number and by time, and the ledger has no gap."""
    with TemporaryDirectory() as folder:
        lake = Lake(root=folder, durable=False)
        publish_ids(lake, 1)
        observe(lake, "a")
        observe(lake, "b")
        answers = {1: read_bytes(lake, current(lake))}
        for kind, what in steps:
            step(lake, kind, what)
            newest = current(lake)
            answers.setdefault(newest.release, read_bytes(lake, newest))
        assert sorted(answers) == list(range(1, len(answers) + 1))
        for release in list_releases(lake):
            assert read_bytes(lake, release) == answers[release.release]
            assert resolve(lake, release.published_at.isoformat()) == release


def test_a_release_without_its_files_is_refused(lake: Lake) -> None:
    """A restored lake lists every release, but has files only of those that were backed up."""
    first, newest = publish_ids(lake, 1), publish_ids(lake, 2)
    refuse_absent(lake, first, newest)
    for name, at in first.tables.items():
        for file in open_table(lake, name, at).files():
            Path(file.uri).unlink()
    with pytest.raises(NoRelease, match="release 1 is not in this lake"):
        refuse_absent(lake, first, newest)
