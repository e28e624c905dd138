"""Hold: after a rollback builds wait, and observations of excluded runs are in no table."""

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from lake.delta.tables import open_table
from lake.errors import CommitConflict, NoRelease, UsageError
from lake.history.rollback import parent_of, run_resume, run_rollback
from lake.ledgers.runs import write_run
from lake.releases.release import Release, find_release, list_releases
from tests.support.built_lake import ENGINE, FEW, Shop, change_model, columns_of, ingested_shop, instant
from tests.support.receipts import receipt
from tests.support.release_history import read_bytes
from tests.support.running import environ_of, succeed
from transform.build import Build
from transform.settings import RulesSettings

pytestmark = pytest.mark.slow

TINY = tuple(model for model in FEW if model.name in ("silver.buyers", "silver.managers"))


def now() -> datetime:
    """Return the current instant."""
    return datetime.now(UTC)


def roll_back(shop: Shop) -> Release:
    """Roll back to the parent release."""
    newest = find_release(shop.lake, None)
    return run_rollback(shop.lake, parent_of(shop.lake, newest), current=newest, now=now(), settings=ENGINE)


def resume(shop: Shop, *, exclude: tuple[str, ...] = (), include: tuple[str, ...] = ()) -> Release:
    """Resume publishing; there must be a change."""
    made = run_resume(shop.lake, exclude=exclude, include=include, now=now())
    assert made
    return made


def observe_order(shop: Shop, run_id: str, minute: int, total: str) -> None:
    """Append a run's observation of order 2 with a total and one line, and of a buyer named as the run."""
    shop.observe(
        "bronze.order_products",
        "order_id | position | product_id | price | run_id | fetched_at\n"
        f"2 | 1 | 7 | {total} | {run_id} | {instant(minute)}",
    )
    shop.observe(
        "bronze.orders",
        "id | ordered_at | source_id | manager_id | status_id | grand_total | run_id | fetched_at\n"
        f"2 | 2026-06-10 10:00 | 1 | 22 | 12 | {total} | {run_id} | {instant(minute)}",
    )
    shop.observe(
        "bronze.buyers",
        f"id | full_name | run_id | fetched_at\n 31 | {run_id} | {run_id} | {instant(minute)}",
    )


def gold(shop: Shop) -> Decimal:
    """Return the total revenue of the newest release."""
    return find_release(shop.lake, None).money["gold.revenue_daily"]


def test_a_build_on_hold_writes_nothing(few: Shop) -> None:
    """On hold there is no new table version and no release, even with --full; readers see the old numbers."""
    bytes_before = read_bytes(few.lake, find_release(few.lake, 1))
    observe_order(few, "bad", 1, "0.01")
    few.publish()
    rollback = roll_back(few)
    observe_order(few, "bad", 2, "0.02")
    before = few.heads()
    assert few.build() is None
    assert few.build(full=True) is None
    assert few.build(rules=RulesSettings(return_statuses=())) is None
    assert few.heads() == before
    assert read_bytes(few.lake, find_release(few.lake, None)) == bytes_before
    assert find_release(few.lake, None) == rollback


def test_the_build_after_resume_restores_the_newer_state(few: Shop, tmp_path: Path) -> None:
    """After rollback and resume, the next build equals the release before the rollback."""
    observe_order(few, "good", 1, "250.00")
    newer = few.publish()
    roll_back(few)
    assert few.build() is None
    assert resume(few).money == find_release(few.lake, 1).money
    release = few.publish()
    assert (release.release, release.parent, release.kind) == (5, 4, "sync")
    assert release.money == newer.money
    assert few.read() == few.read(2) == few.rebuilt_copy(tmp_path / "rebuilt").read()
    assert {move.table for move in release.moved} == {move.table for move in newer.moved}
    assert few.build() is None


def test_an_excluded_run_stays_out_of_every_table(few: Shop) -> None:
    """Observations of other runs still arrive, and later releases inherit the exclusion."""
    before = few.read()
    observe_order(few, "bad", 1, "0.01")
    few.publish()
    roll_back(few)
    resume(few, exclude=("bad",))
    assert few.build() is None
    assert few.read() == before
    few.observe(
        "bronze.managers", f"id | full_name | run_id | fetched_at\n 7 | Ліза Нова | good | {instant(2)}"
    )
    release = few.publish()
    assert release.excluded_runs == ("bad",)
    assert gold(few) == Decimal("1100.00")
    assert few.read()["silver.buyers"] == before["silver.buyers"]
    assert few.read()["silver.managers"] != before["silver.managers"]
    observe_order(few, "good", 3, "300.00")
    assert few.publish().excluded_runs == ("bad",)
    assert gold(few) == Decimal("1200.00")


def test_a_run_can_be_excluded_and_included_without_a_rollback(few: Shop, tmp_path: Path) -> None:
    """The list of excluded runs is an input: if it changes, a build runs although bronze is the same."""
    observe_order(few, "bad", 1, "0.01")
    few.publish()
    few.publish(rules=RulesSettings(excluded_sources=()))
    few.publish()
    with_it = few.read()
    resume(few, exclude=("bad",))
    without = few.publish()
    assert without.consumed == find_release(few.lake, 4).consumed
    assert without.excluded_runs == ("bad",)
    assert gold(few) == Decimal("1100.00")
    assert few.read() == few.read(1)
    assert few.build() is None
    resume(few, include=("bad",))
    assert few.publish().excluded_runs == ()
    assert few.read() == with_it == few.rebuilt_copy(tmp_path / "rebuilt").read()


def test_lines_of_an_excluded_run_leave_with_their_order(shop: Shop) -> None:
    """No order loses its lines, and no line its order."""
    before = shop.read()
    observe_order(shop, "bad", 1, "0.01")
    shop.publish()
    resume(shop, exclude=("bad",))
    shop.publish()
    assert shop.read() == before


def test_a_build_works_after_a_rollback_across_a_contract(few: Shop) -> None:
    """The rollback restores the old columns, and the build after resume the new ones."""
    wider = change_model(
        "gold.revenue_daily",
        "select *, 'new' as note from ({sql})",
        columns={**columns_of("gold.revenue_daily"), "note": "VARCHAR"},
    )
    first = few.read()
    few.publish(models=wider)
    second = few.read()
    roll_back(few)
    assert few.read() == first
    resume(few)
    assert few.build() is None
    assert "note" not in open_table(few.lake, "gold.revenue_daily").schema.names
    few.publish(models=wider)
    assert few.read() == second


def test_a_release_is_complete_through_its_last_included_run(few: Shop) -> None:
    """The source time of an excluded run does not count."""
    for hour, run_id in enumerate(("one", "bad")):
        stamp = datetime(2026, 8, 1, hour, tzinfo=UTC)
        write_run(few.lake, receipt(stamp, run_id=run_id, kind="full"))
    observe_order(few, "bad", 1, "0.01")
    assert few.publish().complete_through == datetime(2026, 8, 1, 1, tzinfo=UTC)
    resume(few, exclude=("bad",))
    assert few.publish().complete_through == datetime(2026, 8, 1, 0, tzinfo=UTC)


def test_a_build_that_started_before_a_rollback_publishes_nothing(few: Shop, tmp_path: Path) -> None:
    """The build meets a conflict, and the next build after the hold repairs its commits."""
    observe_order(few, "good", 1, "250.00")
    few.publish()
    observe_order(few, "good", 2, "260.00")
    slow = Build(few.lake, ENGINE, RulesSettings(), few.models)
    changes = slow.build_candidates(slow.queue)
    rollback = roll_back(few)
    shown = few.read()
    slow.queue.commit(changes)
    assert few.build() is None
    assert find_release(few.lake, None) == rollback
    assert few.read() == shown == few.read(1)
    resume(few)
    few.publish()
    assert few.read() == few.rebuilt_copy(tmp_path / "rebuilt").read()


def test_a_concurrent_build_or_rollback_wins(few: Shop) -> None:
    """Readers see the release of the winner, and the release log has one entry for each success."""
    observe_order(few, "good", 1, "250.00")
    few.publish()
    observe_order(few, "good", 2, "260.00")
    together = threading.Barrier(2, timeout=300)
    ended: list[Release | CommitConflict | None] = []

    def take_part(publisher: Callable[[], Release | None]) -> None:
        together.wait()
        try:
            ended.append(publisher())
        except CommitConflict as conflict:
            ended.append(conflict)

    rivals = [
        threading.Thread(target=take_part, args=[publisher])
        for publisher in (few.build, lambda: roll_back(few))
    ]
    for rival in rivals:
        rival.start()
    for rival in rivals:
        rival.join()
    won = [end for end in ended if isinstance(end, Release)]
    assert won
    assert list_releases(few.lake)[0] == max(won, key=lambda release: release.release)
    assert few.releases() == list(range(2 + len(won), 0, -1))


def test_the_command_reports_a_hold(few: Shop) -> None:
    """The command prints one line and has exit code 0, so that a schedule does not report an error."""
    write_run(few.lake, receipt(datetime(2026, 8, 1, tzinfo=UTC), run_id="one", kind="full"))
    observe_order(few, "bad", 1, "0.01")
    few.publish()
    roll_back(few)
    for options in ((), ("--full",)):
        message = succeed(environ_of(few.lake), "transform", *options)
        assert message == "publishing is held since release 3 (rollback); `just resume` lifts it\n"


STEPS = st.lists(
    st.sampled_from(["see a", "see b", "build", "rollback", "resume", "resume without a", "resume with a"]),
    min_size=3,
    max_size=6,
)


def step(shop: Shop, what: str, minute: int) -> None:
    """Do one step of a history."""
    newest = find_release(shop.lake, None)
    if what.startswith("see"):
        run = what[-1]
        shop.observe(
            "bronze.buyers",
            f"id | full_name | run_id | fetched_at\n 31 | {minute} | {run} | {instant(minute)}",
        )
    elif what == "build":
        shop.build()
    elif what == "rollback":
        with suppress(NoRelease, UsageError):  # no earlier release differs
            roll_back(shop)
    elif what.startswith("resume"):
        is_out = "a" in newest.excluded_runs
        run_resume(
            shop.lake,
            exclude=("a",) if what.endswith("without a") else (),
            include=("a",) if what.endswith("with a") and is_out else (),
            now=now(),
        )


# Builds are slow, so a failing history is not shrunk.
@settings(max_examples=6, phases=[Phase.explicit, Phase.generate])
@given(steps=STEPS)
def test_any_history_keeps_every_release_and_ends_as_a_full_build(steps: list[str]) -> None:
    """After any sequence of steps each release reads the same, and after resume the lake equals a
    full build.
    """
    with TemporaryDirectory() as folder:
        shop = ingested_shop(
            Path(folder) / "lake",
            {"bronze.buyers": f"id | full_name | run_id | fetched_at\n 31 | 0 | a | {instant(0)}"},
            TINY,
        )
        shop.publish()
        first_bytes = {1: read_bytes(shop.lake, find_release(shop.lake, 1))}
        for minute, what in enumerate(steps, start=1):
            step(shop, what, minute)
            newest = find_release(shop.lake, None)
            first_bytes.setdefault(newest.release, read_bytes(shop.lake, newest))
        for release in list_releases(shop.lake):
            assert read_bytes(shop.lake, release) == first_bytes[release.release]
        run_resume(shop.lake, include=find_release(shop.lake, None).excluded_runs, now=now())
        shop.build()
        assert shop.read() == shop.rebuilt_copy(Path(folder) / "rebuilt").read()
