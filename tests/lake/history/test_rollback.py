"""Rollback: readers go back at once, nothing is published until resumed, and nothing is lost."""

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
from lake.delta.table import create_table, open_table
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
    """To the byte; the release says what it is."""
    first = publish_ids(lake, 1, 2)
    said = read_bytes(lake, first)
    second = publish_ids(lake, 3)
    made = back(lake)
    assert made == current(lake)
    assert (made.release, made.kind, made.parent, made.is_held) == (3, "rollback", 2, True)
    assert made.tables == first.tables
    assert (made.rows, made.money, made.models_hash) == (first.rows, first.money, first.models_hash)
    assert made.complete_through == first.complete_through
    assert read_bytes(lake, made) == said != read_bytes(lake, second)


def test_a_rollback_tells_what_moved_from_the_ledger(lake: Lake) -> None:
    """Each table that is shown in another version, as a whole."""
    publish_ids(lake, 1, 2)
    publish_ids(lake, 3)
    moves = {move.table: move for move in back(lake).moved}
    assert moves.keys() == {"silver.things", "gold.sums"}
    sums = moves["gold.sums"]
    assert (sums.month, sums.rows_before, sums.rows_after) == (None, 1, 2)
    assert (sums.money_before, sums.money_after) == (Decimal(1), Decimal(2))


def test_a_rollback_opens_no_table_but_the_ledger(lake: Lake, tmp_path: Path) -> None:
    """Silver and gold are not even there while it runs."""
    said = read_bytes(lake, publish_ids(lake, 1))
    publish_ids(lake, 2)
    for layer in ("silver", "gold"):
        (tmp_path / "lake" / layer).rename(tmp_path / layer)
    made = back(lake)
    for layer in ("silver", "gold"):
        (tmp_path / layer).rename(tmp_path / "lake" / layer)
    assert read_bytes(lake, made) == said


def test_a_second_rollback_undoes_the_first(lake: Lake) -> None:
    """The parent of a rollback is what it went back from."""
    publish_ids(lake, 1)
    newer = publish_ids(lake, 2)
    back(lake)
    again = back(lake)
    assert again.tables == newer.tables
    assert again.is_held


def test_a_step_back_passes_by_a_resume(lake: Lake) -> None:
    """It shows what the rollback before it did: after both, a step back leads where one from that would."""
    first, newer = publish_ids(lake, 1), publish_ids(lake, 2)
    made = back(lake)
    resumed = run_resume(lake, now=LATER)
    assert resumed
    assert parent_of(lake, resumed) == parent_of(lake, made) == newer
    with pytest.raises(UsageError, match=f"release {made.release} serves, as release {resumed.release}"):
        run_rollback(lake, made, current=resumed, now=LATER, settings=ENGINE)
    assert back(lake).tables == newer.tables != first.tables


def test_after_the_whole_way_back_a_step_back_undoes_it(lake: Lake) -> None:
    """A rollback, a resume without the run that did it: the next step is to what was left out, and again."""
    publish_ids(lake, 1)
    observe(lake, "bad")
    bad = publish_ids(lake, 2)
    first = back(lake)
    assert run_resume(lake, exclude=["bad"], now=LATER)
    assert back(lake).tables == bad.tables
    assert run_resume(lake, now=LATER)
    assert back(lake).tables == first.tables


def test_what_serves_is_refused_whichever_release_it_is(lake: Lake) -> None:
    """Once more the same would hold publishing for nothing."""
    publish_ids(lake, 1)
    publish_ids(lake, 2)
    made = back(lake, 1)
    with pytest.raises(UsageError, match=f"release 1 serves, as release {made.release}"):
        back(lake, 1)


def test_a_build_that_began_before_a_resume_does_not_follow_it(lake: Lake) -> None:
    """A resume may leave out runs that the build had."""
    publish_ids(lake, 1)
    publish_ids(lake, 2)
    made = back(lake)
    resumed = run_resume(lake, now=LATER)
    assert resumed
    late = renamed(made, release=made.release + 1, parent=made.release, kind="sync", is_held=False)
    with pytest.raises(CommitConflict, match=f"release {resumed.release} was published meanwhile"):
        publish(lake, late)


def test_a_reader_of_the_newer_release_goes_on(lake: Lake) -> None:
    """What it holds open is still there."""
    publish_ids(lake, 1)
    session = open_session(lake, ENGINE, publish_ids(lake, 2))
    back(lake)
    assert fetch(session, "from gold.sums")["id"].to_pylist() == [2]


def test_while_held_only_a_resume_or_a_held_release_is_published(lake: Lake) -> None:
    """The line says since when and what lifts it."""
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
    """Where there is no hold and no run changes."""
    publish_ids(lake, 1)
    assert run_resume(lake, now=LATER) is None
    assert current(lake).release == 1


def test_runs_are_excluded_and_included_again(lake: Lake) -> None:
    """With a hold or without; the next build has to run each time."""
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
    """They belong to what it shows."""
    publish_ids(lake, 1)
    observe(lake, "a")
    assert run_resume(lake, exclude=["a"], now=LATER)
    with pytest.raises(NoRelease, match="release 2 shows what the first, release 1, did: there is none"):
        back(lake)
    assert back(lake, 1).excluded_runs == ()
    assert back(lake).excluded_runs == ("a",)


@pytest.mark.parametrize(
    ("exclude", "include", "said"),
    [
        (["no"], [], "run no: no such run"),
        ([], ["no"], "run no is not excluded; no run is"),
        (["a"], ["a"], "run a can't be excluded and included at once"),
    ],
)
def test_runs_that_can_not_be_meant_are_refused(
    lake: Lake, exclude: list[str], include: list[str], said: str
) -> None:
    """Nothing is published then."""
    publish_ids(lake, 1)
    observe(lake, "a")
    with pytest.raises(UsageError, match=said):
        run_resume(lake, exclude=exclude, include=include, now=LATER)
    assert current(lake).release == 1


def test_there_is_no_way_back_from_the_first_release_nor_to_the_newest(lake: Lake) -> None:
    """Both are said in a line."""
    publish_ids(lake, 1)
    with pytest.raises(NoRelease, match="release 1 is the first"):
        back(lake)
    with pytest.raises(UsageError, match="release 1 is the one that serves"):
        back(lake, 1)


def test_a_release_that_is_not_kept_any_more_is_refused(lake: Lake) -> None:
    """Its files may be gone; a tag keeps it, and so does a kept release of the same versions."""
    publish_ids(lake, 1)
    publish_ids(lake, 2)
    publish_ids(lake, 3)
    with pytest.raises(NoRelease, match="the last of that day is kept: 2026-06-01"):
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
    """Run the publishers at once; return what each gave or raised."""
    together = threading.Barrier(len(publishers), timeout=300)
    ended: list[object] = []

    def take_part(publisher: Callable[[], object]) -> None:
        together.wait()
        try:
            ended.append(publisher())
        except CommitConflict as conflict:
            ended.append(conflict)

    threads = [threading.Thread(target=take_part, args=[publisher]) for publisher in publishers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ended


def test_of_a_rollback_and_a_publisher_at_once_one_wins(lake: Lake) -> None:
    """The other fails and says that nothing was written."""
    publish_ids(lake, 1)
    newest = publish_ids(lake, 2)
    first = find_release(lake, 1)
    rival = release_of(lake, {"gold.sums": commit(lake, "gold.sums", 9)}, rows=1, at=LATER)
    ended = race(
        lambda: publish(lake, rival),
        lambda: run_rollback(lake, first, current=newest, now=LATER, settings=ENGINE),
        lambda: run_rollback(lake, first, current=newest, now=LATER, settings=ENGINE),
    )
    conflicts = [end for end in ended if isinstance(end, CommitConflict)]
    assert len(conflicts) == 2
    assert all("nothing was written" in str(conflict) for conflict in conflicts)
    assert [release.release for release in list_releases(lake)] == [3, 2, 1]


def test_a_ledger_that_is_compacted_meanwhile_stops_no_publisher(lake: Lake) -> None:
    """A commit that is no release is no rival."""
    publish_ids(lake, 1)
    done = threading.Event()

    def compact() -> None:
        while not done.is_set():
            try:
                DeltaTable(lake.uri(RELEASES)).optimize.compact()
            except Exception:  # it lost against a publisher, and tries again
                continue

    beside = threading.Thread(target=compact)
    beside.start()
    try:
        for number in range(2, 10):
            publish_ids(lake, number)
    finally:
        done.set()
        beside.join()
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
    """Do one thing to the lake; what is refused is left."""
    newest = current(lake)
    now = NOON + timedelta(hours=newest.release)
    if kind == "publish" and isinstance(what, int) and not newest.is_held:
        publish_ids(lake, *range(what))
    elif kind == "crash" and isinstance(what, int):
        commit(lake, "gold.sums", *range(100, 100 + what))
    elif kind == "rollback" and isinstance(what, int):
        target = find_release(lake, what % newest.release + 1)
        with suppress(UsageError):  # it serves already
            run_rollback(lake, target, current=newest, now=now, settings=ENGINE)
    elif kind == "resume" and isinstance(what, set):
        include = set(newest.excluded_runs) - what
        run_resume(lake, exclude=sorted(what), include=sorted(include), now=now)


@settings(max_examples=12, phases=[Phase.explicit, Phase.generate])
@given(steps=STEPS)
def test_whatever_is_done_every_release_reads_as_when_it_was_published(
    steps: list[tuple[str, object]],
) -> None:
    """By number and by time; and the ledger has no gap."""
    with TemporaryDirectory() as folder:
        lake = Lake(root=folder)
        publish_ids(lake, 1)
        observe(lake, "a")
        observe(lake, "b")
        said = {1: read_bytes(lake, current(lake))}
        for kind, what in steps:
            step(lake, kind, what)
            newest = current(lake)
            said.setdefault(newest.release, read_bytes(lake, newest))
        assert sorted(said) == list(range(1, len(said) + 1))
        for release in list_releases(lake):
            assert read_bytes(lake, release) == said[release.release]
            assert resolve(lake, release.published_at.isoformat()) == release


def test_a_release_whose_files_are_not_here_is_refused(lake: Lake) -> None:
    """A restored lake knows of every release, and has the files of those that were backed up."""
    first, newest = publish_ids(lake, 1), publish_ids(lake, 2)
    refuse_absent(lake, first, newest)
    for name, at in first.tables.items():
        for file in open_table(lake, name, at).files():
            Path(file.uri).unlink()
    with pytest.raises(NoRelease, match="release 1 is not in this lake"):
        refuse_absent(lake, first, newest)
