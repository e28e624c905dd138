"""Restores: a restored lake opens the releases that came with the backup and its own, and no others."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner

from lake.backup.archive import archive, month_before
from lake.backup.backup import back_up, restore
from lake.cli.releases import COMMANDS
from lake.delta.files import Files
from lake.delta.tables import open_table, table_exists
from lake.errors import NoRelease, TableMissing
from lake.history.diff import day_moves
from lake.history.explain import explain
from lake.history.order_diff import order_moves
from lake.history.rollback import run_resume, run_rollback
from lake.ledgers.status import read_status
from lake.paths import Lake
from lake.query.session import open_session
from lake.releases.asof import refuse_absent
from lake.releases.release import Release, find_release, publish
from lake.releases.restores import RESTORES, Restored, read_restores
from serve.served_release import open_served_release
from serve.settings import ServeSettings
from tests.support.built_lake import FEW, Shop, ingested_shop
from tests.support.release_history import ENGINE, NOON, commit, publish_ids, read_bytes, release_of
from tests.transform.test_crash import grow

NOW = datetime(2026, 6, 20, tzinfo=UTC)
# The commands go by the clock.
START = datetime.now(UTC)
GONE = "release 2 is not in this lake: it was restored from a backup without it; name release 3 or newer"


@pytest.fixture
def lake(any_lake: Lake) -> Lake:
    """An empty lake, in every kind of place."""
    return any_lake


def beside(lake: Lake, name: str) -> Lake:
    """Return an empty place next to the lake."""
    return Lake(root=f"{lake.place}-{name}")


def rolled_back(lake: Lake) -> None:
    """Publish two releases, and go back to the first."""
    first, second = publish_ids(lake, 1, at=START), publish_ids(lake, 1, 2, at=START)
    run_rollback(lake, first, current=second, now=START, settings=ENGINE)


def restored(lake: Lake, name: str, *releases: int) -> Lake:
    """Return the lake that a backup with these older releases becomes in another place."""
    back_up(lake, beside(lake, f"backup-{name}").place, now=NOW, releases=releases)
    found = beside(lake, name)
    restore(beside(lake, f"backup-{name}").place, found)
    return found


def gone_on(lake: Lake) -> Release:
    """Publish in a restored lake: other rows, under version numbers that old releases also name."""
    run_resume(lake, now=START)
    return publish_ids(lake, 7, 8, 9, at=START)


def test_a_release_that_was_not_restored_never_shows_what_came_later(lake: Lake) -> None:
    """Releases without their tables are refused; restored releases and the lake's own open."""
    rolled_back(lake)
    shown = read_bytes(lake, find_release(lake, 1))
    other = restored(lake, "other")
    newest, absent = gone_on(other), find_release(other, 2)
    assert newest.tables == absent.tables  # of which one shows three rows, and the other showed two
    for opening in (
        lambda: open_session(other, ENGINE, absent),
        lambda: open_served_release(other, ENGINE, ServeSettings(), absent),
        lambda: day_moves(other, ENGINE, absent, newest),
        lambda: order_moves(other, ENGINE, absent, newest),
        lambda: explain(other, ENGINE, absent, NOON.date()),
        lambda: read_status(other, absent),
        lambda: refuse_absent(other, absent, newest),
        lambda: back_up(other, beside(other, "backup").place, now=NOW, releases=[2]),
    ):
        with pytest.raises(NoRelease, match=GONE):
            opening()
    assert {number: read_bytes(other, find_release(other, number)) for number in (1, 3, 4)} == dict.fromkeys(
        (1, 3, 4), shown
    )
    for release in map(lambda number: find_release(other, number), (1, 3, 4, 5)):
        refuse_absent(other, release, newest)
    assert len(read_bytes(other, newest)) == 2
    assert not table_exists(lake, RESTORES)


def test_later_backups_carry_it_along(lake: Lake) -> None:
    """A lake restored twice opens only the releases that both backups had."""
    rolled_back(lake)
    other = restored(lake, "other")
    gone_on(other)
    again = restored(other, "again", 1)
    assert [(one.release, set(one.versions)) for one in read_restores(again)] == [
        (3, {"silver.things", "gold.sums", "ops.releases"}),
        (5, {"silver.things", "gold.sums", "ops.releases", RESTORES}),
    ]
    for number in (1, 3, 4, 5):
        assert read_bytes(again, find_release(again, number)) == read_bytes(
            other, find_release(other, number)
        )
    with pytest.raises(NoRelease, match=GONE.replace("3", "5")):
        read_bytes(again, find_release(again, 2))


def test_a_table_that_was_made_later_is_not_the_release_s(lake: Lake) -> None:
    """A table that the backup lacked counts as left out, although a new table has its first version."""
    first = publish_ids(lake, 1, at=NOON)
    more = {**first.tables, "gold.more": commit(lake, "gold.more", 1)}
    second = release_of(lake, more, rows=1, at=NOON + timedelta(minutes=1))
    publish(lake, second)
    run_rollback(lake, first, current=second, now=NOON + timedelta(minutes=2), settings=ENGINE)
    other = restored(lake, "other")
    assert commit(other, "gold.more", 8, 9) == more["gold.more"]
    with pytest.raises(NoRelease, match=GONE):
        read_bytes(other, find_release(other, 2))


def test_what_a_release_needs_of_bronze_is_given_with_the_span_of_its_feed(tmp_path: Path) -> None:
    """A release opens if its tables came along and its bronze versions lie between two restored ones."""
    shop = ingested_shop(tmp_path / "lake", models=FEW)
    shop.publish()
    for minute in (1, 2):
        grow(shop, minute)
        shop.publish()
    other = Shop(restored(shop.lake, "other", 1), FEW)
    [row] = read_restores(other.lake)
    consumed = [find_release(shop.lake, number).consumed["bronze.orders"] for number in (1, 2, 3)]
    assert row.versions["bronze.orders"] == frozenset(range(consumed[0], consumed[2] + 1))
    assert row.versions["gold.revenue_daily"] == {
        find_release(shop.lake, number).tables["gold.revenue_daily"] for number in (1, 3)
    }
    assert (other.read(1), other.read(3)) == (shop.read(1), shop.read(3))
    with pytest.raises(NoRelease, match=GONE):
        other.read(2)
    grow(other, 3)
    assert other.publish().release == 4
    assert other.read() == other.read(4)
    with pytest.raises(NoRelease, match=GONE):
        other.read(2)


def test_what_was_published_after_a_restore_is_never_left_out() -> None:
    """A release published after the restore opens, whichever versions it names."""
    row = Restored(NOON, 3, {"silver.things": frozenset({1, 3})})
    third = Release(release=3, published_at=NOON, kind="sync", parent=None, tables={}, consumed={})

    def left_out(number: int, **tables: int) -> bool:
        named = {f"silver.{name}": at for name, at in tables.items()}
        return row.left_out(msgspec.structs.replace(third, release=number, tables=named))

    assert not left_out(3, things=3)
    assert not left_out(1, things=1)
    assert left_out(2, things=2)
    assert left_out(2, things=3, others=0)
    assert not left_out(4, things=2)


def test_commands_refuse_what_was_not_restored(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tag would promise a release that is not in the lake, a rollback would show it."""
    rolled_back(lake)
    other = restored(lake, "other")
    gone_on(other)
    run = commands(other, monkeypatch)
    for arguments in (["tag", "2", "audit"], ["rollback", "2"]):
        with pytest.raises(NoRelease, match=GONE):
            run(*arguments)
    listed = json.loads(run("releases", "--format", "json"))
    assert 2 not in {row["release"] for row in listed if row["is_kept"]}
    assert {row["release"] for row in listed if row["is_kept"]} >= {max(row["release"] for row in listed)}
    run("tag", "1", "first")
    run("rollback", "1")


def test_a_month_is_not_archived_of_a_release_that_was_not_restored(lake: Lake) -> None:
    """A backup of a release that was left out would carry other rows for ever."""
    publish_ids(lake, 1, at=NOON)
    second = publish_ids(lake, 1, 2, at=NOON + timedelta(minutes=1))
    run_rollback(lake, find_release(lake, 1), current=second, now=NOON + timedelta(days=40), settings=ENGINE)
    other = restored(lake, "other")
    assert commit(other, "silver.things", 8, 9) == second.tables["silver.things"]
    now = NOON + timedelta(days=41)
    with pytest.raises(NoRelease, match=GONE):
        archive(other, month_before(now), now=now)


@pytest.mark.slow
def test_files_that_are_gone_are_missed_in_any_store(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rollback, tag and readers get one line of refusal for a release that was never published."""
    now = datetime.now(UTC)
    first, newest = publish_ids(lake, 1, at=now), publish_ids(lake, 2, at=now)
    refuse_absent(lake, first, newest)
    file = open_table(lake, "silver.things", first.tables["silver.things"]).files()[0]
    Files(lake.place).delete([file.uri.removeprefix(f"{lake.place}/")])
    said = r"release 1 is not in this lake any more: files of silver\.things, version \d, are missing; name a"
    run = commands(lake, monkeypatch)
    for arguments in (["tag", "1", "audit"], ["rollback", "1"]):
        with pytest.raises(NoRelease, match=said) as refused:
            run(*arguments)
        assert "restore" not in str(refused.value)
    with pytest.raises(TableMissing, match=r"silver\.things: files of version \d are missing") as missing:
        open_session(lake, ENGINE, first)
    assert "\n" not in str(missing.value)
    assert find_release(lake, None) == newest


def test_a_release_that_is_too_old_is_refused_as_that(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal of an old release names its age and the retention, whether or not its files remain."""
    for number, year in ((1, 2020), (2, 2021), (3, 2022)):
        publish_ids(lake, number, at=NOON.replace(year=year))
    file = open_table(lake, "silver.things", 1).files()[0]
    Files(lake.place).delete([file.uri.removeprefix(f"{lake.place}/")])
    run = commands(lake, monkeypatch)
    for arguments in (["tag", "1", "audit"], ["rollback", "1"]):
        with pytest.raises(NoRelease, match="release 1 is of 2020-06-01 and has no tag"):
            run(*arguments)


def test_nothing_is_asked_of_a_place_that_was_never_restored(lake: Lake) -> None:
    """A restored lake without a release opens too."""
    assert read_restores(lake) == []
    open_session(lake, ENGINE, None).close()
    publish_ids(lake, 1, at=NOON)
    assert read_restores(lake) == []


def commands(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that runs a command on the lake and returns its output."""
    monkeypatch.setenv("KEYLAKE_LAKE_ROOT", lake.root)
    group = click.Group("lake", commands={command.name or "": command for command in COMMANDS})

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(group, arguments)
        if done.exception:
            raise done.exception
        return done.output

    return run
