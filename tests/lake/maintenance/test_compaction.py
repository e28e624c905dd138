"""Compaction: which files are merged, that readers see no change, and the release that names the files."""

import errno
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from click.testing import CliRunner
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from lake.cli.maintenance import COMMANDS
from lake.clock import shop_day
from lake.delta.commits import in_place_of, read_live
from lake.delta.contract import Contract
from lake.delta.files import Files
from lake.delta.tables import create_table, open_table
from lake.errors import CommitConflict, UsageError, is_disk_full
from lake.history.rollback import parent_of, run_resume, run_rollback
from lake.ledgers.completeness import EVIDENCE, create_evidence, has_evidence
from lake.ledgers.runs import last_runs, list_runs, watermark
from lake.maintenance import compaction
from lake.maintenance.compaction import MANY, SMALL, TARGET, compact, crowded_partitions
from lake.maintenance.redaction import Redaction, erase
from lake.maintenance.vacuum import maintain, sizes
from lake.paths import Lake
from lake.query.catalogue import catalogue_release, refresh_catalogue
from lake.releases.release import COMPACTION, Release, current_release, list_releases, publish
from lake.settings import LakeSettings
from tests.support.release_history import NOON
from tests.support.simulated_lake import BRONZE, LOOK, Simulated, newest, read, read_release, renamed, rows_of

TODAY = "2026-09-02"
PAST = "observed_on=2026-09-01/"
NOW = f"observed_on={TODAY}/"


def test_compaction_changes_no_row_no_feed_and_no_statistic(month: Simulated) -> None:
    """The newest time, the watermark and the change feed stay the same."""
    lake = month.lake
    for _ in range(MANY + 5):
        month.idle()
        month.look([1, 2])
        month.passes(timedelta(minutes=1))
    month.now += timedelta(days=1)
    name = "bronze.orders"
    before = (list_runs(lake), last_runs(lake), watermark(lake), open_table(lake, name).maximum("fetched_at"))
    head = open_table(lake, name)
    rows = read(lake, name, head.version)
    files = {done.table: (done.files_before, done.files_after) for done in compact(lake, now=month.now)}
    assert files == {name: (MANY + 6, 1), "ops.runs": (2 * MANY + 11, 1)}
    after = (list_runs(lake), last_runs(lake), watermark(lake), open_table(lake, name).maximum("fetched_at"))
    assert after == before
    assert read(lake, name, open_table(lake, name).version) == rows == read(lake, name, head.version)
    month.look([3])
    feed = pa.table(DeltaTable(lake.uri(name)).load_cdf(starting_version=head.version))
    assert feed["id"].to_pylist().count(3) == 1
    assert feed.num_rows == 3
    assert compact(lake, now=month.now) == []
    assert lake.catalogue
    with duckdb.connect(lake.catalogue, read_only=True) as analyst:
        assert analyst.execute("select count(*) from ops.runs").fetchall() == [(2 * MANY + 11,)]


def small_files(month: Simulated, many: int = 3) -> pa.Table:
    """Let a day pass that leaves ``many`` small files, and start the next one; return all rows of bronze."""
    month.passes(timedelta(days=1))
    for number in range(many):
        month.look([number])
    month.passes(timedelta(days=1))
    return read(month.lake, BRONZE, open_table(month.lake, BRONZE).version)


def sized(folder: str, *sizes: int) -> dict[str, int]:
    """Return files of these sizes in a folder."""
    return {f"{folder}{number}": size for number, size in enumerate(sizes)}


def test_today_is_compacted_only_if_it_has_many_files() -> None:
    """Otherwise each maintenance would write and retain the same day again."""
    assert crowded_partitions(sized(PAST, 9, 9), TODAY) == {PAST[:-1]}
    assert crowded_partitions(sized(NOW, *[9] * MANY), TODAY) == set()
    assert crowded_partitions(sized(NOW, *[9] * (MANY + 1)), TODAY) == {NOW[:-1]}
    assert crowded_partitions(sized("", *[9] * (MANY + 1)), TODAY) == {""}
    assert crowded_partitions(sized("", *[TARGET] * (MANY + 1)), TODAY) == set()
    assert crowded_partitions(sized(PAST, *[SMALL] * (MANY + 1)), TODAY) == set()


def test_a_few_late_files_of_a_compacted_day_are_left() -> None:
    """The largest file is rewritten only if the small files have at least a quarter of its size."""
    assert crowded_partitions(sized(PAST, 200_000, 9_000, 9_000), TODAY) == set()
    assert crowded_partitions(sized(PAST, 200_000, 9_000, 41_000), TODAY) == {PAST[:-1]}
    assert crowded_partitions(sized(PAST, 900_000, 9_000, 41_000), TODAY) == set()
    assert crowded_partitions(sized(PAST, 900_000, 200_000, 41_000), TODAY) == {PAST[:-1]}
    assert crowded_partitions(sized(PAST, 900_000, *[900] * (MANY + 1)), TODAY) == {PAST[:-1]}


def test_a_release_names_the_merged_files_and_serves_the_same_rows(month: Simulated) -> None:
    """The catalogue serves this release too, and a step back skips it."""
    lake = month.lake
    month.passes(timedelta(days=1))
    for _ in range(3):
        month.sync()
    before, expected = newest(lake), read_release(lake, newest(lake))
    month.passes(timedelta(days=1))
    assert BRONZE in compacted_tables(month)
    after = newest(lake)
    consumed = {BRONZE: open_table(lake, BRONZE).version}
    assert consumed != before.consumed
    assert after == renamed(
        before,
        release=before.release + 1,
        parent=before.release,
        published_at=month.now,
        kind=COMPACTION,
        consumed=consumed,
        digests={BRONZE: open_table(lake, BRONZE).digest()},
    )
    assert read_release(lake, after) == expected
    assert lake.catalogue
    with duckdb.connect(lake.catalogue, read_only=True) as analyst:
        assert analyst.execute("select release from ops.current_release").fetchall() == [(after.release,)]
        (bronze,) = analyst.execute("select sql from duckdb_views() where schema_name = 'bronze'").fetchall()
    assert all(Path(file.uri).name in bronze[0] for file in open_table(lake, BRONZE).files())
    assert compact(lake, now=month.now) == []
    assert newest(lake) == after
    assert parent_of(lake, after).release == before.release - 1
    with pytest.raises(
        UsageError, match=f"release {before.release} is serving already, as release {after.release}"
    ):
        run_rollback(lake, before, current=after, now=month.now, settings=LakeSettings())
    back = run_rollback(
        lake, parent_of(lake, after), current=after, now=month.now, settings=LakeSettings(keep_all_hours=48)
    )
    assert read_release(lake, back) == read_release(lake, parent_of(lake, after))
    assert parent_of(lake, back) == after


def compacted_tables(month: Simulated) -> set[str]:
    """Compact the lake; return the names of the compacted tables."""
    return {done.table for done in compact(month.lake, now=month.now)}


def test_rows_that_no_build_has_consumed_are_left_to_the_next_build(month: Simulated) -> None:
    """Compaction publishes no release of such a table; the build that consumes its rows does."""
    lake = month.lake
    month.passes(timedelta(days=1))
    month.sync()
    month.look([5, 6])
    before = newest(lake)
    month.passes(timedelta(days=1))
    assert BRONZE in compacted_tables(month)
    assert newest(lake) == before


def test_a_table_with_unconsumed_rows_keeps_its_consumed_version(month: Simulated) -> None:
    """Other tables don't wait for it, because observations that change no model are never consumed."""
    lake, other = month.lake, "bronze.cards"
    month.passes(timedelta(days=1))
    create_table(lake, other, LOOK, partition_by=["observed_on"])
    for _ in range(3):
        month.sync()
        append_observation(month, other, 1)
    before = newest(lake)
    consumed = {**before.consumed, other: open_table(lake, other).version}
    publish(lake, renamed(following(before), consumed=consumed))
    append_observation(month, other, 2)
    month.passes(timedelta(days=1))
    assert compacted_tables(month) >= {BRONZE, other}
    assert newest(lake).consumed == {BRONZE: open_table(lake, BRONZE).version, other: consumed[other]}
    assert open_table(lake, BRONZE).version > consumed[BRONZE]
    assert set(open_table(lake, other).appended("id", after=consumed[other])) == {2}


def append_observation(month: Simulated, name: str, number: int) -> None:
    """Append one observation to a table of bronze."""
    rows = rows_of([(number, month.text(), month.now, "run", shop_day(month.now))], LOOK)
    open_table(month.lake, name).append(rows)


def test_no_release_is_older_than_the_one_before_it(month: Simulated) -> None:
    """A build may publish after midnight while a compaction that began before midnight is running."""
    lake = month.lake
    month.passes(timedelta(days=1))
    for _ in range(3):
        month.sync()
    began = month.now + timedelta(days=1)
    published = publish(lake, renamed(following(newest(lake)), published_at=began + timedelta(minutes=9)))
    compact(lake, now=began)
    assert newest(lake).kind == COMPACTION
    assert newest(lake).published_at == published.published_at


def test_a_compaction_publishes_nothing_during_a_hold(month: Simulated) -> None:
    """After the resume and the next build, there is nothing left to publish."""
    lake = month.lake
    month.passes(timedelta(days=1))
    month.sync()
    month.sync()
    current = newest(lake)
    run_rollback(lake, parent_of(lake, current), current=current, now=month.now, settings=LakeSettings())
    rollback = newest(lake)
    month.passes(timedelta(days=1))
    assert BRONZE in compacted_tables(month)
    assert newest(lake) == rollback
    run_resume(lake, now=month.now)
    compact(lake, now=month.now)
    assert newest(lake).kind == "resume"  # bronze has rows that this release has not consumed
    month.publish(rollback.tables)
    compact(lake, now=month.now)
    assert newest(lake).kind == "sync"  # the build has named the compacted files itself


def following(parent: Release, kind: str = "sync") -> Release:
    """Return the release that a build on ``parent`` publishes."""
    return renamed(parent, release=parent.release + 1, parent=parent.release, kind=kind)


def test_a_running_build_publishes_after_a_compaction(month: Simulated) -> None:
    """A compaction serves the same tables as its parent, so it does not conflict with a running build."""
    lake = month.lake
    month.sync()
    begun = newest(lake)
    for _ in range(2):  # twice: one compaction may follow another
        publish(lake, following(newest(lake), COMPACTION))
    made = publish(lake, following(begun))
    assert (made.release, made.parent) == (begun.release + 3, begun.release + 2)
    assert newest(lake) == made
    with pytest.raises(CommitConflict):  # one of two concurrent builds wins
        publish(lake, following(begun))
    with pytest.raises(CommitConflict):  # a compaction has to follow the release that it has read
        publish(lake, following(begun, COMPACTION))
    assert current_release(lake) == made


@pytest.mark.slow
def test_a_retained_day_has_only_merged_files(month: Simulated) -> None:
    """Each day's last release reads the same after the small files of twelve or forty syncs were deleted.

    Forty are too many small files even for a day that is not over, twelve are not.
    """
    lake, settings = month.lake, LakeSettings()
    month.passes(timedelta(hours=21))  # midnight in Kyiv, in summer
    expected = {}
    for syncs in (12, 40, 12, 12):
        for _ in range(syncs):
            month.passes(timedelta(minutes=1400 / syncs))
            month.sync()
        month.passes(timedelta(minutes=32))
        maintain(lake, settings, now=month.now)
        last = newest(lake)
        assert last.kind == COMPACTION
        expected[last.release] = read_release(lake, last)
        month.passes(timedelta(minutes=8))
    month.sync()  # the parent of the serving release is always retained
    month.passes(timedelta(days=1))
    maintain(lake, settings, now=month.now)
    for release in list_releases(lake):
        if release.release in expected:
            assert read_release(lake, release) == expected[release.release]
    (bronze,) = (size for size in sizes(lake, settings, now=month.now) if size.table == BRONZE)
    assert bronze.retained < bronze.live / 10
    assert len(list(Path(lake.uri(BRONZE)).glob("*/*.parquet"))) < 15


def test_concurrent_compactions_duplicate_no_row(month: Simulated) -> None:
    """Each compaction merges the same files, and delta-rs alone would accept all their commits."""
    rows = small_files(month, 40)
    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(compact, month.lake, now=month.now) for _ in range(4)]
    assert sorted(done.table for result in results for done in result.result()) == [BRONZE, "ops.runs"]
    assert read(month.lake, BRONZE, open_table(month.lake, BRONZE).version) == rows


def interrupt(other: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Call ``other`` once, between the merge of files and the commit."""
    commit_merged = compaction.commit_merged

    def late(*arguments: Any) -> bool:
        monkeypatch.setattr(compaction, "commit_merged", commit_merged)
        other()
        return commit_merged(*arguments)

    monkeypatch.setattr(compaction, "commit_merged", late)


def test_a_slower_compaction_commits_nothing(month: Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    """If another process compacted the same files in between, the slower one leaves them to it."""
    lake, rows = month.lake, small_files(month)
    interrupt(lambda: compact(lake, now=month.now), monkeypatch)
    assert compact(lake, now=month.now) == []
    assert read(lake, BRONZE, open_table(lake, BRONZE).version) == rows


def test_a_concurrent_append_is_no_conflict(month: Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    """The appended rows stay, and the merged files are committed after them."""
    lake, rows = month.lake, small_files(month)
    interrupt(lambda: month.look([99999]), monkeypatch)
    assert [done.table for done in compact(lake, now=month.now)] == [BRONZE]
    now = read(lake, BRONZE, open_table(lake, BRONZE).version)
    assert now.filter(pc.field("id") == 99999).num_rows == 1
    assert now.filter(pc.field("id") != 99999).combine_chunks() == rows


def test_a_merged_file_has_the_statistics_of_the_small_files(lake: Lake) -> None:
    """It has the minimum, the maximum and the number of nulls, unless a small file lacks them."""
    schema = Contract.of(
        {"id": "BIGINT", "seen_at": "TIMESTAMPTZ?", "closed_on": "DATE?", "odd": "BIGINT?"}
    ).schema
    stamps = [datetime(2026, 6, 1, 12, 0, second, 123456, tzinfo=UTC) for second in (7, 3)]
    rows = [
        {"id": 5, "seen_at": stamps[0], "closed_on": None, "odd": 1},
        {"id": 9, "seen_at": None, "closed_on": None, "odd": 2},
        {"id": 2, "seen_at": stamps[1], "closed_on": None, "odd": 3},
    ]
    table = create_table(lake, "ops.things", schema)
    for row in rows:
        table.append(pa.Table.from_pylist([row], schema=schema))
    files = read_live(DeltaTable(lake.uri("ops.things")))
    silent = msgspec.structs.replace(files[0], least={"id": 5}, greatest={"id": 5}, nulls={"id": 0, "odd": 0})
    merged = in_place_of(files, path="one", size=1)
    assert (merged.rows, dict(merged.nulls)) == (3, {"id": 0, "seen_at": 1, "closed_on": 3, "odd": 0})
    assert merged.least == {"id": 2, "seen_at": stamps[1].replace(microsecond=123000), "odd": 1}
    assert merged.greatest == {"id": 9, "seen_at": stamps[0].replace(microsecond=123000), "odd": 3}
    assert in_place_of([silent, *files[1:]], path="one", size=1).least == {"id": 2}
    for row in rows * (MANY // 3):
        table.append(pa.Table.from_pylist([row], schema=schema))
    before = open_table(lake, "ops.things")
    assert compact(lake, now=NOON)
    after = open_table(lake, "ops.things")
    assert [after.maximum(name) for name in schema.names] == [before.maximum(name) for name in schema.names]
    assert [sorted(after.counts(name).items(), key=str) for name in schema.names] == [
        sorted(before.counts(name).items(), key=str) for name in schema.names
    ]
    (file,) = read_live(DeltaTable(lake.uri("ops.things")))
    assert (file.rows, dict(file.nulls)) == (33, {"id": 0, "seen_at": 11, "closed_on": 33, "odd": 0})
    assert file.least == merged.least


def test_the_command_names_the_release_and_the_next_command_writes_the_catalogue(
    month: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next command mends the catalogue of a compaction that was killed after its publish."""
    lake = month.lake
    monkeypatch.setenv("KEYLAKE_LAKE_ROOT", lake.root)
    (command,) = (command for command in COMMANDS if command.name == "compact")
    month.sync()
    refresh_catalogue(lake)
    with monkeypatch.context() as patch:
        patch.setattr("lake.query.catalogue.write_catalogue", lambda *_, **__: None)
        before = newest(lake).release
        for number in range(40):
            month.look([number])
        month.publish(newest(lake).tables)
        output = CliRunner().invoke(command, [], catch_exceptions=False).output
    assert f"release {before + 2} references them and serves the same rows as release {before + 1}" in output
    assert catalogue_release(lake) == before
    assert "nothing to compact" in CliRunner().invoke(command, [], catch_exceptions=False).output
    assert catalogue_release(lake) == before + 2


def test_a_commit_whose_response_was_lost_is_a_commit(
    month: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a store committed but its response was lost, the merged files are in the table and stay."""
    lake, rows = month.lake, small_files(month)
    commit = DeltaTable.create_write_transaction

    def lost(delta: DeltaTable, *arguments: Any, **options: Any) -> None:
        commit(delta, *arguments, **options)
        raise CommitFailedError("no response arrived")

    with monkeypatch.context() as patch:
        patch.setattr(DeltaTable, "create_write_transaction", lost)
        assert [done.table for done in compact(lake, now=month.now)] == [BRONZE]
    assert read(lake, BRONZE, open_table(lake, BRONZE).version) == rows


def test_files_of_different_partitions_are_never_merged(lake: Lake) -> None:
    """The partition value is only in the path, so a merge would assign evidence to another run."""
    evidence = create_evidence(lake)
    runs = ("20260901T0000-a", "20260902T00:00-b")
    for number in range(MANY + 2):
        for run in runs:
            row = {"run_id": run, "id": number, "payload_hash": "x", "fetched_at": NOON}
            evidence.append(pa.Table.from_pylist([row], schema=evidence.schema))
    rows = read(lake, EVIDENCE, open_table(lake, EVIDENCE).version)
    (done,) = compact(lake, now=NOON)
    assert (done.files_before, done.files_after) == (2 * (MANY + 2), 2)
    evidence = open_table(lake, EVIDENCE)
    assert read(lake, EVIDENCE, evidence.version) == rows
    assert all(has_evidence(evidence, run) for run in runs)


@pytest.fixture(scope="module")
def evidence_of_two_runs(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake with evidence of two runs: many small files in two partitions; no test changes it."""
    lake = Lake(root=str(tmp_path_factory.mktemp("evidence") / "lake"), durable=False)
    evidence = create_evidence(lake)
    for number in range(MANY + 2):
        for run in ("20260901T0000-a", "20260902T0000-b"):
            row = {"run_id": run, "id": number, "payload_hash": "x", "fetched_at": NOON}
            evidence.append(pa.Table.from_pylist([row], schema=evidence.schema))
    return lake


@pytest.fixture
def two_groups(evidence_of_two_runs: Lake, lake: Lake) -> list[Path]:
    """Copy the evidence of two runs into the test's lake; return its files."""
    shutil.copytree(evidence_of_two_runs.root, lake.root)
    return stored_files(lake)


def stored_files(lake: Lake) -> list[Path]:
    """Return the data files in the folder of the evidence, also those that no commit has."""
    return sorted(Path(lake.uri(EVIDENCE)).glob("run_id=*/*"))


@pytest.mark.parametrize("how", ["changed", "missing", "unreadable"])
def test_a_damaged_file_keeps_only_its_own_group_from_compaction(
    lake: Lake, two_groups: list[Path], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other group is merged, later runs write nothing, and no merged file is left without a commit."""
    victim = two_groups[3]
    if how == "unreadable":
        read = Files.read

        def fail(folder: Files, path: str) -> bytes:
            if path.endswith(victim.name):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return read(folder, path)

        monkeypatch.setattr(Files, "read", fail)
    elif how == "missing":
        victim.unlink()
    else:
        victim.write_bytes(victim.read_bytes()[:-9] + bytes(9))
    (done,) = compact(lake, now=NOON)
    assert (done.files_before, done.files_after) == (2 * (MANY + 2), MANY + 3)
    stored = stored_files(lake)
    assert len(stored) == len(two_groups) + 1 - (how == "missing")
    assert compact(lake, now=NOON) == []
    assert stored_files(lake) == stored


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("second_group", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
        ("second_group", OSError(errno.EIO, os.strerror(errno.EIO))),
        ("second_group", KeyboardInterrupt()),
        ("commit", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
        ("commit", DeltaError(f"Generic LocalFileSystem error: {os.strerror(errno.ENOSPC)}")),
    ],
)
def test_a_compaction_that_can_not_end_leaves_no_file(
    lake: Lake, two_groups: list[Path], where: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk does not get fuller with each attempt; once there is space, both groups are merged."""
    create, calls = Files.create, count(1)

    def fail_second(folder: Files, path: str, content: bytes) -> None:
        if next(calls) == 2:
            raise error
        create(folder, path, content)

    def fail(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        if where == "commit":
            patch.setattr(DeltaTable, "create_write_transaction", fail)
        else:
            patch.setattr(Files, "create", fail_second)
        if is_disk_full(error):
            assert compact(lake, now=NOON) == []
        else:
            with pytest.raises(type(error)):
                compact(lake, now=NOON)
    assert stored_files(lake) == two_groups
    (done,) = compact(lake, now=NOON)
    assert done.files_after == 2


@pytest.mark.usefixtures("two_groups")
def test_a_commit_that_failed_after_it_was_made_keeps_its_files(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If only the checkpoint after the commit had no space, the merged files are the table's."""
    rows = read(lake, EVIDENCE, open_table(lake, EVIDENCE).version)
    commit = DeltaTable.create_write_transaction

    def fail_after(delta: DeltaTable, *arguments: Any, **options: Any) -> None:
        commit(delta, *arguments, **options)
        raise DeltaError(os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(DeltaTable, "create_write_transaction", fail_after)
        assert compact(lake, now=NOON) == []
    assert read(lake, EVIDENCE, open_table(lake, EVIDENCE).version) == rows
    assert len(read_live(DeltaTable(lake.uri(EVIDENCE)))) == 2


def test_files_that_a_concurrent_erasure_changes_are_not_merged(
    month: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The merged file would otherwise restore the erased values after the erasure's last pass."""
    lake = month.lake
    small_files(month)
    create = Files.create

    def and_erase(folder: Files, path: str, content: bytes) -> None:
        patch.undo()
        erase(lake, [Redaction(BRONZE, "id", {1}, {"text": lambda _: "-"})])
        create(folder, path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Files, "create", and_erase)
        assert compact(lake, now=month.now) == []
    assert compact(lake, now=month.now)
    texts = open_table(lake, BRONZE).read(where=pc.field("id") == 1)["text"].to_pylist()
    assert set(texts) == {"-"}


def test_a_column_that_older_files_lack_is_kept(lake: Lake) -> None:
    """A column that was added later is null in the rows of older files."""
    old = Contract.of({"id": "BIGINT"}).schema
    new = Contract.of({"id": "BIGINT", "since": "BIGINT?"}).schema
    create_table(lake, "ops.things", old)
    for number in range(MANY + 2):
        schema = new if number % 2 else old
        rows = pa.Table.from_pylist([{"id": number, "since": number}], schema=schema)
        write_deltalake(lake.uri("ops.things"), rows, mode="append", schema_mode="merge")
    before = read(lake, "ops.things", open_table(lake, "ops.things").version)
    assert before["since"].null_count == (MANY + 2) // 2
    assert compact(lake, now=NOON)
    assert read(lake, "ops.things", open_table(lake, "ops.things").version) == before
