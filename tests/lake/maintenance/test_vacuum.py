"""Vacuum: the lake stays small, no process is stopped, and every retained release reads the same."""

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

from lake.backup.backup import back_up, restore
from lake.cli.maintenance import COMMANDS
from lake.delta.log import DataFile
from lake.delta.properties import CHECKPOINTED
from lake.delta.tables import open_table
from lake.errors import TableMissing
from lake.history.rollback import parent_of, run_resume, run_rollback
from lake.ledgers.runs import list_runs
from lake.maintenance import vacuum as maintenance
from lake.maintenance.compaction import MANY, compact
from lake.maintenance.damaged_tables import every_table
from lake.maintenance.plan import NEAR
from lake.maintenance.vacuum import RetentionPolicy, maintain, sizes, vacuum
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

pytestmark = pytest.mark.slow

KEEP_10 = LakeSettings(keep_days=10)


def log_of(lake: Lake, name: str) -> list[str]:
    """Return the names of a table's log files."""
    return sorted(file.name for file in Path(lake.uri(name), "_delta_log").iterdir())


@pytest.fixture(scope="module")
def shared_days(tmp_path_factory: pytest.TempPathFactory) -> tuple[Simulated, dict[int, object]]:
    """Ten days with a tagged first release, and the content of their releases; no test changes the lake.

    So far, the retention of 10 and of 90 days have retained the same.
    """
    simulated = Simulated(Lake(root=str(tmp_path_factory.mktemp("days") / "lake"), durable=False), now=at(0))
    simulated.start()
    write_tag(simulated.lake, newest(simulated.lake), "first", now=simulated.now)
    return simulated, live_days(simulated, 10, syncs=1, settings=LakeSettings())


@pytest.fixture
def ten_days(
    shared_days: tuple[Simulated, dict[int, object]], tmp_path: Path
) -> tuple[Simulated, dict[int, object]]:
    """A copy of the ten days, and the content of their releases."""
    shared, contents = shared_days
    return shared.copy(str(tmp_path / "lake")), contents


def write_checkpoint(lake: Lake, name: str) -> None:
    """Write a checkpoint at a table's head; its first reader seals it, so that it outlives a restart."""
    DeltaTable(lake.uri(name)).create_checkpoint()
    open_table(lake, name)


def live_days(simulated: Simulated, days: int, *, syncs: int, settings: LakeSettings) -> dict[int, object]:
    """Let days pass with ``syncs`` syncs and one maintenance each; return the content of some releases."""
    lake = simulated.lake
    first = newest(lake)
    contents = {first.release: content_of(lake, first)}
    for day in range(days):
        for number in range(syncs):
            simulated.sync()
            if number == day % syncs:
                release = newest(lake)
                contents[release.release] = content_of(lake, release)
            simulated.passes(timedelta(hours=24 / syncs))
        maintain(lake, settings, now=simulated.now)
    return contents


def content_of(lake: Lake, release: Release) -> object:
    """Return the present content of a release: its rows, and the hashes of its files."""
    return read_release(lake, release), released_files(lake, release)


def releases_since(lake: Lake, since: datetime, known: Container[int]) -> list[Release]:
    """Return the releases published since a time whose numbers are known, newest first."""
    return [
        release
        for release in list_releases(lake)
        if release.published_at >= since and release.release in known
    ]


@pytest.mark.parametrize("keep_days", [90, 10])
def test_after_thirty_days_every_retained_release_reads_the_same(
    ten_days: tuple[Simulated, dict[int, object]], keep_days: int
) -> None:
    """The oldest, a tagged and random releases have the same rows and bytes, and the lake stays small."""
    month, contents = ten_days
    lake, settings = month.lake, LakeSettings(keep_days=keep_days)
    contents = contents | live_days(month, 20, syncs=1, settings=settings)
    retained = releases_since(lake, month.now - timedelta(days=keep_days), contents)
    for release in (retained[0], retained[-1], find_release(lake, 1), *random.Random(5).sample(retained, 8)):
        assert content_of(lake, release) == contents[release.release]
    feed = pa.table(DeltaTable(lake.uri(BRONZE)).load_cdf(starting_version=newest(lake).consumed[BRONZE]))
    assert feed.num_rows == 3
    assert bounded(month, settings)


def test_at_the_defaults_every_retained_release_reads_the_same(month: Simulated, tmp_path: Path) -> None:
    """After six syncs a day and two idle days, so do a rollback to the parent and a restored backup."""
    lake, settings = month.lake, LakeSettings()
    write_tag(lake, newest(lake), "first", now=month.now)
    contents = {1: content_of(lake, newest(lake))}
    for _ in range(8):
        for _ in range(6):
            month.sync()
            contents[newest(lake).release] = content_of(lake, newest(lake))
            month.passes(timedelta(hours=4))
        maintain(lake, settings, now=month.now)
        contents[newest(lake).release] = content_of(lake, newest(lake))
    month.passes(timedelta(days=2))
    maintain(lake, settings, now=month.now)
    retained = retained_releases(
        list_releases(lake),
        tagged=[1],
        now=month.now,
        keep_days=90,
        keep_all_hours=settings.keep_all_hours,
    )
    assert 8 <= len(retained) <= 12
    for release in retained:
        assert content_of(lake, release) == contents[release.release]
    current, first = newest(lake), find_release(lake, 1)
    back = run_rollback(lake, parent_of(lake, current), current=current, now=month.now, settings=settings)
    assert content_of(lake, back) == contents[parent_of(lake, current).release]
    # The log entries since the first release were deleted long ago.
    place = str(tmp_path / "backup")
    back_up(lake, place, now=month.now, releases=[1])
    restored = Lake(root=str(tmp_path / "restored"))
    restore(place, restored)
    assert read_release(restored, find_release(restored, 1)) == read_release(lake, first)


def test_an_unfinished_table_stops_no_maintenance(month: Simulated) -> None:
    """The process that creates it was killed or is still running."""
    for name in ("gold.begun", "ops.begun"):
        Path(month.lake.uri(name), "_delta_log").mkdir(parents=True)
    maintain(month.lake, LakeSettings(), now=month.now)
    names = {size.table for size in sizes(month.lake, LakeSettings(), now=month.now)}
    assert BRONZE in names
    assert not names & {"gold.begun", "ops.begun"}


def test_the_next_maintenance_writes_the_catalogue_of_a_killed_one(
    month: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old catalogue names ledger files that were compacted and are deleted a day later."""
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
    """Assert the bounds on the sizes of files, folders and logs; return True."""
    lake = month.lake
    tables = sizes(lake, settings, now=month.now)
    assert sum(size.total for size in tables) <= 3 * sum(size.live for size in tables)
    assert sum(size.total for size in tables) == sum(file.stat().st_size for file in files(lake, *LAYERS))
    for name in (BRONZE, SILVER):
        folders = Counter(str(Path(file.uri).parent) for file in open_table(lake, name).files())
        assert max(folders.values()) <= (MANY if name == BRONZE else 1)
    assert all(size.log_entries <= 4 * settings.keep_days + 2 * NEAR for size in tables)
    assert all(size.files <= MANY + 5 for size in tables)
    return True


def test_files_that_no_release_retains_are_deleted(month: Simulated) -> None:
    """Files and log entries of older releases are deleted, even the first ones."""
    lake, settings = month.lake, LakeSettings(keep_days=3, keep_all_hours=72)
    live_days(month, 10, syncs=2, settings=settings)
    assert f"{0:020d}.json" not in log_of(lake, SILVER)
    needed = {
        file.uri for release in list_releases(lake, limit=12) for file in files_of(lake, release.tables)
    }
    for name in (SILVER, GOLD):
        present = {str(file) for file in Path(lake.uri(name)).rglob("*.parquet") if "_log" not in str(file)}
        assert {uri for uri in needed if uri.startswith(lake.uri(name))} >= present
    with pytest.raises(TableMissing):
        open_table(lake, SILVER, 1)


def test_the_log_of_a_busy_ledger_is_cleaned_too(month: Simulated) -> None:
    """Its newest checkpoint is always young, but the entries that older checkpoints replace are deleted."""
    for _ in range(8 * CHECKPOINTED):
        month.idle()
        month.passes(timedelta(minutes=30))
    entries, runs = len(log_of(month.lake, "ops.runs")), list_runs(month.lake)
    maintain(month.lake, LakeSettings(), now=month.now)
    assert len(log_of(month.lake, "ops.runs")) < entries - 2 * CHECKPOINTED
    assert list_runs(month.lake) == runs


def test_a_young_checkpoint_deletes_no_log_entry(month: Simulated) -> None:
    """A reader that listed the log before the checkpoint appeared needs the entries it replaces."""
    lake, name = month.lake, "ops.runs"
    for _ in range(CHECKPOINTED // 2):
        month.idle()
    month.passes(timedelta(days=2))
    write_checkpoint(lake, name)
    month.passes(timedelta(minutes=30))
    entries, runs = log_of(lake, name), list_runs(lake)
    maintain(lake, LakeSettings(), now=month.now)
    assert log_of(lake, name) == entries
    month.passes(timedelta(minutes=31))
    maintain(lake, LakeSettings(), now=month.now)
    assert f"{0:020}.json" not in log_of(lake, name)
    assert list_runs(lake) == runs


def test_young_log_entries_stay(month: Simulated) -> None:
    """A running writer compares its commit with all commits since it began."""
    lake, name = month.lake, "ops.runs"
    for _ in range(CHECKPOINTED // 2):
        month.idle()
    write_checkpoint(lake, name)
    month.passes(timedelta(hours=5))
    entries, runs = log_of(lake, name), list_runs(lake)
    maintain(lake, LakeSettings(keep_all_hours=6), now=month.now)
    assert log_of(lake, name) == entries
    month.passes(timedelta(hours=2))
    maintain(lake, LakeSettings(keep_all_hours=6), now=month.now)
    assert f"{0:020}.json" not in log_of(lake, name)
    assert list_runs(lake) == runs


def test_a_release_keeps_its_files_for_an_hour_after_its_retention(month: Simulated) -> None:
    """A rollback or a tag that has just checked that it is retained still finds its files."""
    lake = month.lake
    for _ in range(2):
        month.passes(timedelta(days=1))
        month.sync()
    first, content = find_release(lake, 1), content_of(lake, find_release(lake, 1))
    others = {file.uri for number in (2, 3) for file in files_of(lake, find_release(lake, number).tables)}
    own = {file.uri for file in files_of(lake, first.tables)} - others
    month.passes(first.published_at + timedelta(days=10, minutes=30) - month.now)
    retained = retained_releases(list_releases(lake), now=month.now, keep_days=10, keep_all_hours=6)
    assert first.release not in {release.release for release in retained}
    vacuum(lake, KEEP_10, now=month.now, dry_run=False)
    assert content_of(lake, first) == content
    month.passes(timedelta(minutes=31))
    vacuum(lake, KEEP_10, now=month.now, dry_run=False)
    assert own
    assert not any(Path(uri).exists() for uri in own)


def files_of(lake: Lake, tables: dict[str, int]) -> list[DataFile]:
    """Return the files of the given table versions."""
    return [file for name, version in tables.items() for file in open_table(lake, name, version).files()]


def test_an_idle_day_adds_only_run_receipts(month: Simulated) -> None:
    """Only the ledger of runs gets files and commits, and maintenance changes no other table."""
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


def test_the_changes_since_the_last_build_survive_a_hold(month: Simulated) -> None:
    """After a hold of weeks, the next build finds all changes, although no release names their versions."""
    lake = month.lake
    live_days(month, 2, syncs=1, settings=KEEP_10)
    current = newest(lake)
    publish(lake, renamed(current, release=current.release + 1, parent=current.release, is_held=True))
    ids = []
    for day in range(14):
        for number in range(2):
            ids.append(20_000 + 10 * day + number)
            month.look(ids[-1:])
            month.passes(timedelta(hours=12))
        maintain(lake, KEEP_10, now=month.now)
    feed = DeltaTable(lake.uri(BRONZE)).load_cdf(starting_version=current.consumed[BRONZE] + 1)
    assert sorted(pa.table(feed)["id"].to_pylist()) == ids


def test_a_dry_run_deletes_nothing_and_counts_what_vacuum_deletes(month: Simulated) -> None:
    """The dry run has the same figures as the vacuum after it, and a third one finds nothing."""
    live_days(month, 2, syncs=3, settings=LakeSettings())
    stray = Path(month.lake.uri(SILVER), "month=2026-09-01", "left-by-a-killed-writer.parquet")
    stray.write_bytes(b"x" * 1000)
    month.passes(timedelta(days=40))
    before = {str(file) for file in files(month.lake)}
    planned = vacuum(month.lake, KEEP_10, now=month.now)
    assert {str(file) for file in files(month.lake)} == before
    assert {reclaimed.table for reclaimed in planned} == {BRONZE, SILVER, GOLD}
    assert vacuum(month.lake, KEEP_10, now=month.now, dry_run=False) == planned
    assert not stray.exists()
    assert len(before) - len(files(month.lake)) == sum(reclaimed.files for reclaimed in planned)
    assert vacuum(month.lake, KEEP_10, now=month.now) == []


def test_files_that_may_be_in_use_stay(month: Simulated) -> None:
    """A young uncommitted file may be committed soon, and a file that was just replaced may have readers."""
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


def test_files_that_a_checkpointed_commit_removed_stay_while_young(month: Simulated) -> None:
    """After a clean-up the log begins at that commit, and the files it removed may still have readers."""
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
    """Repeat each function in a thread of its own until the block ends; yield the errors."""
    end, errors = threading.Event(), list[Exception]()

    def loop(function: Callable[[], object]) -> None:
        while not end.is_set():
            try:
                function()
            except Exception as error:
                errors.append(error)
                return

    threads = [threading.Thread(target=loop, args=(function,)) for function in work]
    for thread in threads:
        thread.start()
    try:
        yield errors
    finally:
        end.set()
        for thread in threads:
            thread.join()


def test_maintenance_runs_concurrently_with_ingest_publishing_and_reading(
    ten_days: tuple[Simulated, dict[int, object]],
) -> None:
    """No process fails, no observation is lost, and releases read the same."""
    month, contents = ten_days
    lake = month.lake
    # Vacuum uses the real clock here, so the files that this test writes are young.
    now = datetime.now(UTC)
    settings = LakeSettings(keep_days=(now - at(3)).days)
    retained = releases_since(lake, at(4), contents)
    dice = random.Random(3)
    numbers = iter(range(30_000, 90_000))
    ids: list[int] = []
    other = Simulated(lake, now=month.now - timedelta(days=1))

    def ingest() -> None:
        number = next(numbers)
        other.look([number])
        ids.append(number)

    def read_back() -> None:
        release = dice.choice(retained)
        assert content_of(lake, release) == contents[release.release]

    with running(ingest, ingest, month.sync, read_back) as errors:
        for _ in range(3):
            maintain(lake, settings, now=now)
    assert errors == []
    present = open_table(lake, BRONZE).read(["id"])["id"].to_pylist()
    assert Counter(number for number in present if number >= 30_000) == Counter(ids)
    assert len(ids) > 10


def test_maintenance_runs_concurrently_with_builds(tmp_path: Path) -> None:
    """No commit of maintenance conflicts with a build, and compacted tables read the same."""
    shop = ingested_shop(tmp_path / "shop", models=FEW)
    shop.publish()
    with running(lambda: maintain(shop.lake, KEEP_10, now=datetime.now(UTC))) as errors:
        for minute in range(1, 6):
            grow(shop, minute)
            shop.publish()
    assert errors == []
    assert len([release for release in list_releases(shop.lake) if release.kind != COMPACTION]) == 6
    assert shop.read() == shop.rebuilt_copy(tmp_path / "rebuilt").read()


def test_a_build_after_a_rollback_finds_all_changes_in_a_cleaned_log(tmp_path: Path) -> None:
    """It compares rows, because the commits and small files since that release were deleted."""
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
    assert shop.read() == shop.read(3) == shop.rebuilt_copy(tmp_path / "rebuilt").read()


def test_the_commands_report_their_work(month: Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    """They report it on a lake and on an empty folder, and vacuum by default deletes nothing."""
    monkeypatch.setenv("KEYLAKE_LAKE_ROOT", month.lake.root)
    commands = {command.name: command for command in COMMANDS}
    outputs = {
        name: CliRunner().invoke(commands[name], arguments, catch_exceptions=False).output
        for name, arguments in {
            "compact": [],
            "vacuum": [],
            "maintain": [],
            "size": ["--format", "csv"],
        }.items()
    }
    assert "nothing to compact" in outputs["compact"]
    assert "nothing to delete" in outputs["vacuum"]
    assert "nothing to delete" in outputs["maintain"]
    header, *lines = outputs["size"].splitlines()
    assert header == "table,files,live,retained,reclaimable,log,log_entries,total"
    assert {line.split(",")[0] for line in lines} == {BRONZE, SILVER, GOLD, "ops.releases", "ops.runs"}
    assert "all" in CliRunner().invoke(commands["size"], [], catch_exceptions=False).output
    monkeypatch.setenv("KEYLAKE_LAKE_ROOT", "nothing-here")
    assert (
        CliRunner().invoke(commands["maintain"], [], catch_exceptions=False).output == "nothing to delete\n"
    )
    assert CliRunner().invoke(commands["size"], [], catch_exceptions=False).exit_code == 0


def test_maintenance_retries_a_table_that_another_process_cleans(
    month: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a checkpoint is deleted after the log was listed, a retry lists the log again."""
    for _ in range(2 * CHECKPOINTED):
        month.sync()
    month.passes(timedelta(days=2))
    checkpoint = maintenance.checkpoint
    tried: list[str] = []
    done: list[str] = []

    def delete_checkpoint(policy: RetentionPolicy, name: str) -> int:
        log = Path(month.lake.uri(name), "_delta_log")
        checkpoints = (
            sorted(log.glob("*.checkpoint.parquet")) if name == BRONZE and BRONZE not in tried else []
        )
        assert checkpoints or name != BRONZE or BRONZE in tried
        tried.append(name)
        for file in checkpoints:
            file.rename(file.with_suffix(".away"))
        try:
            made = checkpoint(policy, name)
            done.append(name)
            return made
        finally:
            for file in checkpoints:
                file.with_suffix(".away").rename(file)

    monkeypatch.setattr(maintenance, "checkpoint", delete_checkpoint)
    maintain(month.lake, LakeSettings(), now=month.now)
    assert done == every_table(month.lake)
    assert tried == [BRONZE, *done]

    def broken(policy: RetentionPolicy, name: str) -> int:
        for file in Path(month.lake.uri(name), "_delta_log").iterdir():
            file.unlink()
        return checkpoint(policy, name)

    monkeypatch.setattr(maintenance, "checkpoint", broken)
    with pytest.raises(TableMissing):
        maintain(month.lake, LakeSettings(), now=month.now)
