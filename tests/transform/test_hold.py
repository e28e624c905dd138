"""Hold: after a rollback builds wait, and what excluded runs saw is in no table."""

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from lake.delta.table import open_table
from lake.errors import CommitConflict, NoRelease, UsageError
from lake.history.rollback import parent_of, run_resume, run_rollback
from lake.ledgers.runs import write_run
from lake.releases.release import Release, find_release, list_releases
from tests.support.built_lake import ENGINE, FEW, Shop, look, opened
from tests.support.receipts import receipt
from tests.support.release_history import read_bytes
from tests.support.running import environ_of, succeed
from transform.build import Build
from transform.settings import RulesSettings

TINY = tuple(model for model in FEW if model.name in ("silver.buyers", "silver.managers"))


def now() -> datetime:
    """Return this moment."""
    return datetime.now(UTC)


def back(shop: Shop) -> Release:
    """Roll back to the parent."""
    newest = find_release(shop.lake, None)
    return run_rollback(shop.lake, parent_of(shop.lake, newest), current=newest, now=now(), settings=ENGINE)


def resume(shop: Shop, *, exclude: tuple[str, ...] = (), include: tuple[str, ...] = ()) -> Release:
    """Resume; something must change by it."""
    made = run_resume(shop.lake, exclude=exclude, include=include, now=now())
    assert made
    return made


def see(shop: Shop, run_id: str, minute: int, total: str) -> None:
    """Let a run see order 2 at a total, with one line, and a buyer with a name of its own."""
    shop.see(
        "bronze.order_products",
        "order_id | position | product_id | price | run_id | fetched_at\n"
        f"2 | 1 | 7 | {total} | {run_id} | {look(minute)}",
    )
    shop.see(
        "bronze.orders",
        "id | ordered_at | source_id | manager_id | status_id | grand_total | run_id | fetched_at\n"
        f"2 | 2026-06-10 10:00 | 1 | 22 | 12 | {total} | {run_id} | {look(minute)}",
    )
    shop.see(
        "bronze.buyers", f"id | full_name | run_id | fetched_at\n 31 | {run_id} | {run_id} | {look(minute)}"
    )


def gold(shop: Shop) -> Decimal:
    """Return what the newest release says revenue is in all."""
    return find_release(shop.lake, None).money["gold.revenue_daily"]


def test_while_held_a_build_writes_nothing(few: Shop) -> None:
    """No table, no release, not even with --full; readers see the old numbers."""
    said = read_bytes(few.lake, find_release(few.lake, 1))
    see(few, "bad", 1, "0.01")
    few.published()
    held = back(few)
    see(few, "bad", 2, "0.02")
    before = few.heads()
    assert few.build() is None
    assert few.build(full=True) is None
    assert few.build(rules=RulesSettings(return_statuses=())) is None
    assert few.heads() == before
    assert read_bytes(few.lake, find_release(few.lake, None)) == said
    assert find_release(few.lake, None) == held


def test_resumed_the_next_build_brings_the_newer_state_back(few: Shop, tmp_path: Path) -> None:
    """As if nobody had rolled back."""
    see(few, "good", 1, "250.00")
    newer = few.published()
    back(few)
    assert few.build() is None
    assert resume(few).money == find_release(few.lake, 1).money
    release = few.published()
    assert (release.release, release.parent, release.kind) == (5, 4, "sync")
    assert release.money == newer.money
    assert few.read() == few.read(2) == few.built_anew(tmp_path / "anew").read()
    assert {move.table for move in release.moved} == {move.table for move in newer.moved}
    assert few.build() is None


def test_resumed_without_a_run_its_state_stays_out(few: Shop) -> None:
    """Of every table; what other runs see goes on coming, and children inherit the exclusion."""
    said = few.read()
    see(few, "bad", 1, "0.01")
    few.published()
    back(few)
    resume(few, exclude=("bad",))
    assert few.build() is None
    assert few.read() == said
    few.see("bronze.managers", f"id | full_name | run_id | fetched_at\n 7 | Ліза Нова | good | {look(2)}")
    release = few.published()
    assert release.excluded_runs == ("bad",)
    assert gold(few) == Decimal("1100.00")
    assert few.read()["silver.buyers"] == said["silver.buyers"]
    assert few.read()["silver.managers"] != said["silver.managers"]
    see(few, "good", 3, "300.00")
    assert few.published().excluded_runs == ("bad",)
    assert gold(few) == Decimal("1200.00")


def test_a_run_can_be_excluded_without_a_rollback_and_included_again(few: Shop, tmp_path: Path) -> None:
    """A changed list is a changed input, though bronze is the same."""
    see(few, "bad", 1, "0.01")
    few.published()
    few.published(rules=RulesSettings(excluded_sources=()))
    few.published()
    with_it = few.read()
    resume(few, exclude=("bad",))
    without = few.published()
    assert without.consumed == find_release(few.lake, 4).consumed
    assert without.excluded_runs == ("bad",)
    assert gold(few) == Decimal("1100.00")
    assert few.read() == few.read(1)
    assert few.build() is None
    resume(few, include=("bad",))
    assert few.published().excluded_runs == ()
    assert few.read() == with_it == few.built_anew(tmp_path / "anew").read()


def test_lines_of_an_excluded_run_leave_with_their_order(shop: Shop) -> None:
    """No order is without its lines, no line without its order."""
    said = shop.read()
    see(shop, "bad", 1, "0.01")
    shop.published()
    resume(shop, exclude=("bad",))
    shop.published()
    assert shop.read() == said


def test_a_rollback_across_a_changed_contract_is_built_upon(few: Shop) -> None:
    """The old columns are back, and after resuming the new ones."""
    wider = [
        msgspec.structs.replace(
            model,
            header=msgspec.structs.replace(model.header, columns={**model.header.columns, "note": "VARCHAR"}),
            sql=f"select *, 'new' as note from ({model.sql})",
        )
        if model.name == "gold.revenue_daily"
        else model
        for model in FEW
    ]
    first = few.read()
    few.published(models=wider)
    second = few.read()
    back(few)
    assert few.read() == first
    resume(few)
    assert few.build() is None
    assert "note" not in open_table(few.lake, "gold.revenue_daily").schema.names
    few.published(models=wider)
    assert few.read() == second


def test_the_release_is_complete_through_the_last_run_that_counts(few: Shop) -> None:
    """What an excluded run read is not in it, so its time isn't either."""
    for hour, run_id in enumerate(("one", "bad")):
        stamp = datetime(2026, 8, 1, hour, tzinfo=UTC)
        write_run(few.lake, receipt(stamp, run_id=run_id, kind="full"))
    see(few, "bad", 1, "0.01")
    assert few.published().complete_through == datetime(2026, 8, 1, 1, tzinfo=UTC)
    resume(few, exclude=("bad",))
    assert few.published().complete_through == datetime(2026, 8, 1, 0, tzinfo=UTC)


def test_a_build_that_began_before_the_rollback_publishes_nothing(few: Shop, tmp_path: Path) -> None:
    """It meets a conflict, and the next build after the hold mends what it left."""
    see(few, "good", 1, "250.00")
    few.published()
    see(few, "good", 2, "260.00")
    slow = Build(few.lake, ENGINE, RulesSettings(), few.models)
    changes = slow.build_candidates(slow.queue)
    held = back(few)
    shown = few.read()
    slow.queue.commit(changes)
    assert few.build() is None
    assert find_release(few.lake, None) == held
    assert few.read() == shown == few.read(1)
    resume(few)
    few.published()
    assert few.read() == few.built_anew(tmp_path / "anew").read()


def test_of_a_build_and_a_rollback_at_once_one_wins(few: Shop) -> None:
    """Readers see what the winner published; either way the ledger has one release more."""
    see(few, "good", 1, "250.00")
    few.published()
    see(few, "good", 2, "260.00")
    together = threading.Barrier(2, timeout=300)
    ended: list[Release | CommitConflict | None] = []

    def take_part(publisher: Callable[[], Release | None]) -> None:
        together.wait()
        try:
            ended.append(publisher())
        except CommitConflict as conflict:
            ended.append(conflict)

    rivals = [
        threading.Thread(target=take_part, args=[publisher]) for publisher in (few.build, lambda: back(few))
    ]
    for rival in rivals:
        rival.start()
    for rival in rivals:
        rival.join()
    won = [end for end in ended if isinstance(end, Release)]
    assert won
    assert list_releases(few.lake)[0] == max(won, key=lambda release: release.release)
    assert few.releases() == list(range(2 + len(won), 0, -1))


def test_the_command_says_that_publishing_is_held(few: Shop) -> None:
    """In one line and with exit code 0: a schedule has no reason to complain."""
    write_run(few.lake, receipt(datetime(2026, 8, 1, tzinfo=UTC), run_id="one", kind="full"))
    see(few, "bad", 1, "0.01")
    few.published()
    back(few)
    for options in ((), ("--full",)):
        said = succeed(environ_of(few.lake), "transform", *options)
        assert said == "publishing is held since release 3 (rollback); `just resume` lifts it\n"


STEPS = st.lists(
    st.sampled_from(["see a", "see b", "build", "rollback", "resume", "resume without a", "resume with a"]),
    min_size=3,
    max_size=6,
)


def step(shop: Shop, what: str, minute: int) -> None:
    """Do one thing to the shop."""
    newest = find_release(shop.lake, None)
    if what.startswith("see"):
        run = what[-1]
        shop.see(
            "bronze.buyers", f"id | full_name | run_id | fetched_at\n 31 | {minute} | {run} | {look(minute)}"
        )
    elif what == "build":
        shop.build()
    elif what == "rollback":
        with suppress(NoRelease, UsageError):  # none before it shows anything else
            back(shop)
    elif what.startswith("resume"):
        is_out = "a" in newest.excluded_runs
        run_resume(
            shop.lake,
            exclude=("a",) if what.endswith("without a") else (),
            include=("a",) if what.endswith("with a") and is_out else (),
            now=now(),
        )


# Builds are slow to repeat: a failure is shown as it was found.
@settings(max_examples=6, phases=[Phase.explicit, Phase.generate])
@given(steps=STEPS)
def test_any_history_keeps_every_release_and_ends_as_if_built_anew(steps: list[str]) -> None:
    """Whatever was published, rolled back, excluded: each release reads the same, and resuming heals."""
    with TemporaryDirectory() as folder:
        shop = opened(
            Path(folder) / "lake",
            {"bronze.buyers": f"id | full_name | run_id | fetched_at\n 31 | 0 | a | {look(0)}"},
            TINY,
        )
        shop.published()
        said = {1: read_bytes(shop.lake, find_release(shop.lake, 1))}
        for minute, what in enumerate(steps, start=1):
            step(shop, what, minute)
            newest = find_release(shop.lake, None)
            said.setdefault(newest.release, read_bytes(shop.lake, newest))
        for release in list_releases(shop.lake):
            assert read_bytes(shop.lake, release) == said[release.release]
        run_resume(shop.lake, include=find_release(shop.lake, None).excluded_runs, now=now())
        shop.build()
        assert shop.read() == shop.built_anew(Path(folder) / "anew").read()
