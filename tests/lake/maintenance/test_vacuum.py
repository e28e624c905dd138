"""Maintenance: the lake stays small, nobody is stopped, and every kept release reads as when published."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from click.testing import CliRunner
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lake.backup.backup import back_up, restore
from lake.cli.maintenance import COMMANDS
from lake.delta.log import DataFile
from lake.delta.properties import CHECKPOINTED
from lake.delta.table import open_table
from lake.errors import TableMissing
from lake.history.rollback import parent_of, run_resume, run_rollback
from lake.ledgers.runs import list_runs
from lake.maintenance import vacuum as maintenance
from lake.maintenance.compaction import MANY, compact
from lake.maintenance.plan import NEAR
from lake.maintenance.vacuum import Keeper, every_table, maintain, sizes, vacuum
from lake.paths import LAYERS, Lake
from lake.query.catalogue import refresh_catalogue
from lake.releases.release import COMPACTION, Release, find_release, list_releases, publish
from lake.releases.retention import retained_releases
from lake.releases.tags import write_tag
from lake.settings import LakeSettings
from tests.support.built_lake import FEW, ingested_shop
from tests.support.simulated_lake import (
    BRONZE,
    GOLD,
    SILVER,
    Simulated,
    at,
    files,
    newest,
    read_release,
    released_files,
    renamed,
)
from tests.transform.test_crash import grow

KEEP_10 = LakeSettings(keep_days=10)


def log_of(lake: Lake, name: str) -> list[str]:
    """Return the names of a table's log files."""
    return sorted(file.name for file in Path(lake.uri(name), "_delta_log").iterdir())


def live_days(simulated: Simulated, days: int, *, syncs: int, settings: LakeSettings) -> dict[int, object]:
    """Let days pass, each with its syncs and a maintenance in the night; return what some releases said."""
    lake = simulated.lake
    said = {1: say(lake, newest(lake))}
    for day in range(days):
        for number in range(syncs):
            simulated.sync()
            if number == day % syncs:
                release = newest(lake)
                said[release.release] = say(lake, release)
            simulated.passes(timedelta(hours=24 / syncs))
        maintain(lake, settings, now=simulated.now)
    return said


def say(lake: Lake, release: Release) -> object:
    """Return what a release says now: its rows, and the bytes of its files."""
    return read_release(lake, release), released_files(lake, release)


def kept_since(lake: Lake, since: datetime, said: Container[int]) -> list[Release]:
    """Return the releases of then on, newest first, of which is known what they said."""
    return [one for one in list_releases(lake) if one.published_at >= since and one.release in said]


@pytest.mark.parametrize("keep_days", [90, 10])
def test_after_thirty_days_every_kept_release_reads_as_when_published(
    month: Simulated, keep_days: int
) -> None:
    """The oldest, a tagged one, random ones: rows and bytes; and the lake has kept its size."""
    lake, settings = month.lake, LakeSettings(keep_days=keep_days)
    write_tag(lake, newest(lake), "first", now=month.now)
    said = live_days(month, 30, syncs=1, settings=settings)
    kept = kept_since(lake, month.now - timedelta(days=keep_days), said)
    for release in (kept[0], kept[-1], find_release(lake, 1), *random.Random(5).sample(kept, 8)):
        assert say(lake, release) == said[release.release]
    feed = pa.table(DeltaTable(lake.uri(BRONZE)).load_cdf(starting_version=newest(lake).consumed[BRONZE]))
    assert feed.num_rows == 3
    assert bounded(month, settings)


def test_at_the_defaults_what_is_kept_reads_as_when_published(month: Simulated, tmp_path: Path) -> None:
    """Six syncs a day, then two days of none: every kept release, a rollback to the parent, a backup."""
    lake, settings = month.lake, LakeSettings()
    write_tag(lake, newest(lake), "first", now=month.now)
    said = {1: say(lake, newest(lake))}
    for _ in range(8):
        for _ in range(6):
            month.sync()
            said[newest(lake).release] = say(lake, newest(lake))
            month.passes(timedelta(hours=4))
        maintain(lake, settings, now=month.now)
        said[newest(lake).release] = say(lake, newest(lake))
    month.passes(timedelta(days=2))
    maintain(lake, settings, now=month.now)
    kept = retained_releases(
        list_releases(lake),
        tagged=[1],
        now=month.now,
        keep_days=90,
        keep_all_hours=settings.keep_all_hours,
    )
    assert 8 <= len(kept) <= 12
    for release in kept:
        assert say(lake, release) == said[release.release]
    current, first = newest(lake), find_release(lake, 1)
    back = run_rollback(lake, parent_of(lake, current), current=current, now=month.now, settings=settings)
    assert say(lake, back) == said[parent_of(lake, current).release]
    # The feed from the first release on was cleaned up long ago.
    place = str(tmp_path / "backup")
    back_up(lake, place, now=month.now, releases=[1])
    restored = Lake(root=str(tmp_path / "restored"))
    restore(place, restored)
    assert read_release(restored, find_release(restored, 1)) == read_release(lake, first)


def test_a_table_that_is_only_begun_stops_nobody(month: Simulated) -> None:
    """Its maker was killed, or is at it at this moment."""
    for name in ("gold.begun", "ops.begun"):
        Path(month.lake.uri(name), "_delta_log").mkdir(parents=True)
    maintain(month.lake, LakeSettings(), now=month.now)
    names = {one.table for one in sizes(month.lake, LakeSettings(), now=month.now)}
    assert BRONZE in names
    assert not names & {"gold.begun", "ops.begun"}


def test_a_maintenance_killed_before_it_wrote_the_catalogue_is_made_good(
    month: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would name merged files of the ledgers, which are deleted a day later."""
    lake = month.lake
    for _ in range(MANY + 5):
        month.idle()
    refresh_catalogue(lake)
    month.passes(timedelta(days=1))
    with monkeypatch.context() as patch:
        patch.setattr("lake.maintenance.compaction.show_ledgers", lambda _: None)
        assert compact(lake, now=month.now)
    for _ in range(3):
        month.passes(timedelta(days=1))
        maintain(lake, LakeSettings(), now=month.now)
    assert lake.catalogue
    with duckdb.connect(lake.catalogue, read_only=True) as analyst:
        assert analyst.execute("select count(*) from ops.runs").fetchall() == [(len(list_runs(lake)),)]


def bounded(month: Simulated, settings: LakeSettings) -> bool:
    """Assert the sizes that the design promises."""
    lake = month.lake
    found = sizes(lake, settings, now=month.now)
    assert sum(one.total for one in found) <= 3 * sum(one.live for one in found)
    assert sum(one.total for one in found) == sum(file.stat().st_size for file in files(lake, *LAYERS))
    for name in (BRONZE, SILVER):
        folders = Counter(str(Path(file.uri).parent) for file in open_table(lake, name).files())
        assert max(folders.values()) <= (MANY if name == BRONZE else 1)
    assert all(one.log_entries <= 4 * settings.keep_days + 2 * NEAR for one in found)
    assert all(one.files <= MANY + 5 for one in found)
    return True


def test_what_no_release_keeps_is_gone(month: Simulated) -> None:
    """Files and log entries of releases older than that, the first ones as well."""
    lake, settings = month.lake, LakeSettings(keep_days=3, keep_all_hours=72)
    live_days(month, 15, syncs=2, settings=settings)
    assert f"{0:020d}.json" not in log_of(lake, SILVER)
    needed = {file.uri for release in list_releases(lake, limit=12) for file in shown(lake, release.tables)}
    for name in (SILVER, GOLD):
        there = {str(file) for file in Path(lake.uri(name)).rglob("*.parquet") if "_log" not in str(file)}
        assert {uri for uri in needed if uri.startswith(lake.uri(name))} >= there
    with pytest.raises(TableMissing):
        open_table(lake, SILVER, 1)


def test_a_ledger_that_is_written_all_day_is_cleaned_too(month: Simulated) -> None:
    """Its newest checkpoint is always young: it is left, and what older ones make needless goes."""
    for _ in range(8 * CHECKPOINTED):
        month.idle()
        month.passes(timedelta(minutes=30))
    entries, said = len(log_of(month.lake, "ops.runs")), list_runs(month.lake)
    maintain(month.lake, LakeSettings(), now=month.now)
    assert len(log_of(month.lake, "ops.runs")) < entries - 2 * CHECKPOINTED
    assert list_runs(month.lake) == said


def test_nothing_goes_for_the_sake_of_a_young_checkpoint(month: Simulated) -> None:
    """Who listed the log before it was there reads what it replaces, however old that is."""
    lake, name = month.lake, "ops.runs"
    for _ in range(CHECKPOINTED // 2):
        month.idle()
    month.passes(timedelta(days=2))
    DeltaTable(lake.uri(name)).create_checkpoint()
    month.passes(timedelta(minutes=30))
    entries, said = log_of(lake, name), list_runs(lake)
    maintain(lake, LakeSettings(), now=month.now)
    assert log_of(lake, name) == entries
    month.passes(timedelta(minutes=31))
    maintain(lake, LakeSettings(), now=month.now)
    assert f"{0:020}.json" not in log_of(lake, name)
    assert list_runs(lake) == said


def test_young_log_entries_stay_whatever_replaces_them(month: Simulated) -> None:
    """A writer under way compares its commit with all since it began."""
    lake, name = month.lake, "ops.runs"
    for _ in range(CHECKPOINTED // 2):
        month.idle()
    DeltaTable(lake.uri(name)).create_checkpoint()
    month.passes(timedelta(hours=5))
    entries, said = log_of(lake, name), list_runs(lake)
    maintain(lake, LakeSettings(keep_all_hours=6), now=month.now)
    assert log_of(lake, name) == entries
    month.passes(timedelta(hours=2))
    maintain(lake, LakeSettings(keep_all_hours=6), now=month.now)
    assert f"{0:020}.json" not in log_of(lake, name)
    assert list_runs(lake) == said


def test_a_release_that_just_left_retention_can_be_named_for_an_hour_more(month: Simulated) -> None:
    """Who saw that it is kept, and goes back to it or tags it now, finds its files."""
    lake = month.lake
    for _ in range(2):
        month.passes(timedelta(days=1))
        month.sync()
    first, said = find_release(lake, 1), say(lake, find_release(lake, 1))
    others = {file.uri for number in (2, 3) for file in shown(lake, find_release(lake, number).tables)}
    own = {file.uri for file in shown(lake, first.tables)} - others
    month.passes(first.published_at + timedelta(days=10, minutes=30) - month.now)
    kept = retained_releases(list_releases(lake), now=month.now, keep_days=10, keep_all_hours=6)
    assert first.release not in {release.release for release in kept}
    vacuum(lake, KEEP_10, now=month.now, dry_run=False)
    assert say(lake, first) == said
    month.passes(timedelta(minutes=31))
    vacuum(lake, KEEP_10, now=month.now, dry_run=False)
    assert own
    assert not any(Path(uri).exists() for uri in own)


def shown(lake: Lake, tables: dict[str, int]) -> list[DataFile]:
    """Return the files of these versions."""
    return [file for name, version in tables.items() for file in open_table(lake, name, version).files()]


def test_an_idle_day_adds_only_run_receipts(month: Simulated) -> None:
    """No table but the ledger of runs gets a file or a commit, nor does maintenance change one."""
    live_days(month, 3, syncs=2, settings=KEEP_10)
    for _ in range(2):
        month.passes(timedelta(days=1))
        maintain(month.lake, KEEP_10, now=month.now)
    before = {str(file) for file in files(month.lake)}
    versions = {name: open_table(month.lake, name).version for name in (BRONZE, SILVER, GOLD, "ops.releases")}
    for _ in range(5):
        month.idle()
        month.passes(timedelta(hours=4))
    maintain(month.lake, KEEP_10, now=month.now)
    added = {str(file) for file in files(month.lake)} - before
    assert added
    assert all("/ops/runs/" in file for file in added)
    assert versions == {name: open_table(month.lake, name).version for name in versions}


def test_the_feed_of_a_lake_whose_publishing_is_held_survives(month: Simulated) -> None:
    """Held for weeks: what the next build reads is all there, though no release names it."""
    lake = month.lake
    live_days(month, 2, syncs=1, settings=KEEP_10)
    current = newest(lake)
    publish(lake, renamed(current, release=current.release + 1, parent=current.release, is_held=True))
    ids = []
    for day in range(20):
        for number in range(2):
            ids.append(20_000 + 10 * day + number)
            month.look(ids[-1:])
            month.passes(timedelta(hours=12))
        maintain(lake, KEEP_10, now=month.now)
    feed = DeltaTable(lake.uri(BRONZE)).load_cdf(starting_version=current.consumed[BRONZE] + 1)
    assert sorted(pa.table(feed)["id"].to_pylist()) == ids


def test_a_dry_run_deletes_nothing_and_says_what_would_go(month: Simulated) -> None:
    """The same figures as the deletion afterwards, and nothing left for a third."""
    live_days(month, 2, syncs=3, settings=LakeSettings())
    stray = Path(month.lake.uri(SILVER), "month=2026-09-01", "left-by-a-killed-writer.parquet")
    stray.write_bytes(b"x" * 1000)
    month.passes(timedelta(days=40))
    before = {str(file) for file in files(month.lake)}
    found = vacuum(month.lake, KEEP_10, now=month.now)
    assert {str(file) for file in files(month.lake)} == before
    assert {one.table for one in found} == {BRONZE, SILVER, GOLD}
    assert vacuum(month.lake, KEEP_10, now=month.now, dry_run=False) == found
    assert not stray.exists()
    assert len(before) - len(files(month.lake)) == sum(one.files for one in found)
    assert vacuum(month.lake, KEEP_10, now=month.now) == []


def test_what_is_young_is_left_to_who_may_be_at_it(month: Simulated) -> None:
    """A file nobody has committed yet, and one that was replaced a moment ago, however old it is."""
    lake = month.lake
    month.passes(timedelta(days=100))
    under_way = Path(lake.uri(SILVER), "under-way.parquet")
    under_way.write_bytes(b"x")
    month.sync()
    old = list_releases(lake)[1]
    month.passes(timedelta(hours=23))
    before = read_release(lake, old)
    assert vacuum(lake, LakeSettings(keep_days=1), now=month.now, dry_run=False) == []
    assert read_release(lake, old) == before
    assert under_way.exists()
    month.passes(timedelta(days=2))
    assert vacuum(lake, LakeSettings(keep_days=1), now=month.now, dry_run=False) != []
    assert not under_way.exists()


def test_what_the_commit_of_a_checkpoint_removed_is_young_too(month: Simulated) -> None:
    """The log begins there after a clean-up; the files that it replaced may have readers all the same."""
    lake = month.lake
    month.passes(timedelta(days=5))
    month.sync()
    month.passes(timedelta(days=5))
    replaced = {file.uri for file in open_table(lake, SILVER).files()}
    month.sync()
    replaced -= {file.uri for file in open_table(lake, SILVER).files()}
    table = DeltaTable(lake.uri(SILVER))
    table.create_checkpoint()
    for number in range(table.version()):
        Path(lake.uri(SILVER), "_delta_log", f"{number:020}.json").unlink()
    month.passes(timedelta(hours=1))
    vacuum(lake, LakeSettings(), now=month.now, dry_run=False)
    assert replaced
    assert all(Path(uri).exists() for uri in replaced)
    month.passes(timedelta(days=2))
    vacuum(lake, LakeSettings(), now=month.now, dry_run=False)
    assert not any(Path(uri).exists() for uri in replaced)


@contextmanager
def running(*work: Callable[[], object]) -> Iterator[list[Exception]]:
    """Do each again and again in a thread of its own until the end; give what went wrong."""
    over, wrong = threading.Event(), list[Exception]()

    def loop(one: Callable[[], object]) -> None:
        while not over.is_set():
            try:
                one()
            except Exception as error:
                wrong.append(error)
                return

    threads = [threading.Thread(target=loop, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    try:
        yield wrong
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_ingest_publishing_and_reading_go_on_beside_it(month: Simulated) -> None:
    """Nobody meets an error, no look is lost, and releases read the same all the while."""
    lake = month.lake
    said = live_days(month, 7, syncs=1, settings=LakeSettings())
    # The clock of what is deleted is the real one: what is written here is young.
    now = datetime.now(UTC)
    settings = LakeSettings(keep_days=(now - at(3)).days)
    kept = kept_since(lake, at(4), said)
    dice = random.Random(3)
    looks = iter(range(30_000, 90_000))
    ids: list[int] = []
    beside = Simulated(lake, now=month.now - timedelta(days=1))

    def ingest() -> None:
        found = next(looks)
        beside.look([found])
        ids.append(found)

    def look_back() -> None:
        release = dice.choice(kept)
        assert say(lake, release) == said[release.release]

    with running(ingest, ingest, month.sync, look_back) as wrong:
        for _ in range(5):
            maintain(lake, settings, now=now)
    assert wrong == []
    held = open_table(lake, BRONZE).read(["id"])["id"].to_pylist()
    assert Counter(found for found in held if found >= 30_000) == Counter(ids)
    assert len(ids) > 10


def test_builds_go_on_beside_it(tmp_path: Path) -> None:
    """The transform meets no commit of maintenance where it writes, and what is merged reads the same."""
    shop = ingested_shop(tmp_path / "shop", models=FEW)
    shop.publish()
    with running(lambda: maintain(shop.lake, KEEP_10, now=datetime.now(UTC))) as wrong:
        for minute in range(1, 6):
            grow(shop, minute)
            shop.publish()
    assert wrong == []
    assert len([one for one in list_releases(shop.lake) if one.kind != COMPACTION]) == 6
    assert shop.read() == shop.rebuilt_copy(tmp_path / "anew").read()


def test_a_build_after_a_rollback_finds_what_came_since_though_the_log_was_cleaned(tmp_path: Path) -> None:
    """What is told is by rows then: the commits and the small files since that release are gone."""
    shop = ingested_shop(tmp_path / "shop", models=FEW)
    write_tag(shop.lake, first := shop.publish(), "first", now=datetime.now(UTC))
    for minute in range(1, 26):
        grow(shop, minute)
    shop.publish()
    later = datetime.now(UTC) + timedelta(days=40)
    for _ in range(2):
        maintain(shop.lake, KEEP_10, now=later)
        later += timedelta(days=1)
    assert f"{first.consumed['bronze.orders'] + 1:020}.json" not in log_of(shop.lake, "bronze.orders")
    run_rollback(shop.lake, first, current=newest(shop.lake), now=later, settings=KEEP_10)
    run_resume(shop.lake, now=later)
    shop.publish()
    assert shop.read() == shop.read(3) == shop.rebuilt_copy(tmp_path / "anew").read()


def test_the_commands_say_what_they_did(month: Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a lake, and on an empty place; vacuum deletes nothing unless told."""
    monkeypatch.setenv("KEYLAKE_LAKE_ROOT", month.lake.root)
    commands = {command.name: command for command in COMMANDS}
    said = {
        name: CliRunner().invoke(commands[name], arguments, catch_exceptions=False).output
        for name, arguments in {
            "compact": [],
            "vacuum": [],
            "maintain": [],
            "size": ["--format", "csv"],
        }.items()
    }
    assert "nothing to compact" in said["compact"]
    assert "nothing to delete" in said["vacuum"]
    assert "nothing to delete" in said["maintain"]
    header, *lines = said["size"].splitlines()
    assert header == "table,files,live,retained,reclaimable,log,log_entries,total"
    assert {line.split(",")[0] for line in lines} == {BRONZE, SILVER, GOLD, "ops.releases", "ops.runs"}
    assert "all" in CliRunner().invoke(commands["size"], [], catch_exceptions=False).output
    monkeypatch.setenv("KEYLAKE_LAKE_ROOT", "nothing-here")
    assert (
        CliRunner().invoke(commands["maintain"], [], catch_exceptions=False).output == "nothing to delete\n"
    )
    assert CliRunner().invoke(commands["size"], [], catch_exceptions=False).exit_code == 0


def test_a_table_that_another_cleans_at_this_moment_is_left_to_it(
    month: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint may go between the look at the log that names it and the reading: it is looked at anew."""
    for _ in range(2 * CHECKPOINTED):
        month.sync()
    month.passes(timedelta(days=2))
    checkpoint = maintenance.checkpoint
    tried: list[str] = []
    done: list[str] = []

    def while_it_goes(keeper: Keeper, name: str) -> int:
        log = Path(month.lake.uri(name), "_delta_log")
        gone = sorted(log.glob("*.checkpoint.parquet")) if name == BRONZE and BRONZE not in tried else []
        assert gone or name != BRONZE or BRONZE in tried
        tried.append(name)
        for file in gone:
            file.rename(file.with_suffix(".away"))
        try:
            made = checkpoint(keeper, name)
            done.append(name)
            return made
        finally:
            for file in gone:
                file.with_suffix(".away").rename(file)

    monkeypatch.setattr(maintenance, "checkpoint", while_it_goes)
    maintain(month.lake, LakeSettings(), now=month.now)
    assert done == every_table(month.lake)
    assert tried == [BRONZE, *done]

    def broken(keeper: Keeper, name: str) -> int:
        for file in Path(month.lake.uri(name), "_delta_log").iterdir():
            file.unlink()
        return checkpoint(keeper, name)

    monkeypatch.setattr(maintenance, "checkpoint", broken)
    with pytest.raises(DeltaError):
        maintain(month.lake, LakeSettings(), now=month.now)
