"""Compaction: which files are merged, that nothing is seen of it, and the release that names them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from click.testing import CliRunner
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from lake.cli.maintenance import COMMANDS
from lake.clock import shop_day
from lake.delta.commits import in_place_of, read_live
from lake.delta.contract import Contract
from lake.delta.files import Files
from lake.delta.table import create_table, open_table
from lake.errors import CommitConflict, UsageError
from lake.history.rollback import parent_of, run_resume, run_rollback
from lake.ledgers.completeness import WITNESSES, has_witness, make_witnesses
from lake.ledgers.runs import last_runs, list_runs, watermark
from lake.maintenance import compaction
from lake.maintenance.compaction import MANY, SMALL, TARGET, compact, crowded
from lake.maintenance.erasure import Redaction, erase
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
    """Whoever reads the newest stamp, the watermark or what is new finds what he would have found."""
    lake = month.lake
    for _ in range(MANY + 5):
        month.idle()
        month.look([1, 2])
        month.passes(timedelta(minutes=1))
    month.now += timedelta(days=1)
    name = "bronze.orders"
    said = (list_runs(lake), last_runs(lake), watermark(lake), open_table(lake, name).maximum("fetched_at"))
    head = open_table(lake, name)
    rows = read(lake, name, head.version)
    done = {one.table: (one.files_before, one.files_after) for one in compact(lake, now=month.now)}
    assert done == {name: (MANY + 6, 1), "ops.runs": (2 * MANY + 11, 1)}
    again = (list_runs(lake), last_runs(lake), watermark(lake), open_table(lake, name).maximum("fetched_at"))
    assert again == said
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
    """Let a day pass that leaves so many small files, and another begin; return all rows of the table."""
    month.passes(timedelta(days=1))
    for number in range(many):
        month.look([number])
    month.passes(timedelta(days=1))
    return read(month.lake, BRONZE, open_table(month.lake, BRONZE).version)


def sized(folder: str, *sizes: int) -> dict[str, int]:
    """Return files of these sizes in a folder."""
    return {f"{folder}{number}": size for number, size in enumerate(sizes)}


def test_a_day_that_is_not_over_is_merged_only_where_it_has_very_many_files() -> None:
    """Otherwise each run of maintenance would write, and keep, the same day once more."""
    assert crowded(sized(PAST, 9, 9), TODAY) == {PAST[:-1]}
    assert crowded(sized(NOW, *[9] * MANY), TODAY) == set()
    assert crowded(sized(NOW, *[9] * (MANY + 1)), TODAY) == {NOW[:-1]}
    assert crowded(sized("", *[9] * (MANY + 1)), TODAY) == {""}
    assert crowded(sized("", *[TARGET] * (MANY + 1)), TODAY) == set()
    assert crowded(sized(PAST, *[SMALL] * (MANY + 1)), TODAY) == set()


def test_what_a_merged_day_got_at_its_end_is_left_beside_it() -> None:
    """Files are written anew for others only where those are as much as a quarter of them."""
    assert crowded(sized(PAST, 200_000, 9_000, 9_000), TODAY) == set()
    assert crowded(sized(PAST, 200_000, 9_000, 41_000), TODAY) == {PAST[:-1]}
    assert crowded(sized(PAST, 900_000, 9_000, 41_000), TODAY) == set()
    assert crowded(sized(PAST, 900_000, 200_000, 41_000), TODAY) == {PAST[:-1]}
    assert crowded(sized(PAST, 900_000, *[900] * (MANY + 1)), TODAY) == {PAST[:-1]}


def test_a_release_names_the_merged_files_and_shows_the_same(month: Simulated) -> None:
    """So does the catalogue; what comes next goes on from it, and a step back passes by."""
    lake = month.lake
    month.passes(timedelta(days=1))
    for _ in range(3):
        month.sync()
    before, said = newest(lake), read_release(lake, newest(lake))
    month.passes(timedelta(days=1))
    assert {one.table for one in compact(lake, now=month.now)} >= {BRONZE}
    found = newest(lake)
    consumed = {BRONZE: open_table(lake, BRONZE).version}
    assert consumed != before.consumed
    assert found == renamed(
        before,
        release=before.release + 1,
        parent=before.release,
        published_at=month.now,
        kind=COMPACTION,
        consumed=consumed,
    )
    assert read_release(lake, found) == said
    assert lake.catalogue
    with duckdb.connect(lake.catalogue, read_only=True) as analyst:
        assert analyst.execute("select release from ops.current_release").fetchall() == [(found.release,)]
        (bronze,) = analyst.execute("select sql from duckdb_views() where schema_name = 'bronze'").fetchall()
    assert all(Path(file.uri).name in bronze[0] for file in open_table(lake, BRONZE).files())
    assert compact(lake, now=month.now) == []
    assert newest(lake) == found
    assert parent_of(lake, found).release == before.release - 1
    with pytest.raises(UsageError, match=f"release {before.release} serves, as release {found.release}"):
        run_rollback(lake, before, current=found, now=month.now, settings=LakeSettings())
    back = run_rollback(
        lake, parent_of(lake, found), current=found, now=month.now, settings=LakeSettings(keep_all_hours=48)
    )
    assert read_release(lake, back) == read_release(lake, parent_of(lake, found))
    assert parent_of(lake, back) == found


def test_what_an_ingest_has_brought_since_is_left_to_the_build(month: Simulated) -> None:
    """It is in the merged files; the release that comes of it names them."""
    lake = month.lake
    month.passes(timedelta(days=1))
    month.sync()
    month.look([5, 6])
    before = newest(lake)
    month.passes(timedelta(days=1))
    assert {one.table for one in compact(lake, now=month.now)} >= {BRONZE}
    assert newest(lake) == before


def test_a_table_with_news_stays_as_it_was_consumed(month: Simulated) -> None:
    """Others don't wait for it: a look that changes no model is never consumed."""
    lake, other = month.lake, "bronze.cards"
    month.passes(timedelta(days=1))
    create_table(lake, other, LOOK, partition_by=["observed_on"])
    for _ in range(3):
        month.sync()
        looked(month, other, 1)
    before = newest(lake)
    consumed = {**before.consumed, other: open_table(lake, other).version}
    publish(lake, renamed(following(before), consumed=consumed))
    looked(month, other, 2)
    month.passes(timedelta(days=1))
    assert {one.table for one in compact(lake, now=month.now)} >= {BRONZE, other}
    assert newest(lake).consumed == {BRONZE: open_table(lake, BRONZE).version, other: consumed[other]}
    assert open_table(lake, BRONZE).version > consumed[BRONZE]
    assert set(open_table(lake, other).appended("id", after=consumed[other])) == {2}


def looked(month: Simulated, name: str, found: int) -> None:
    """Append one look to a table of bronze."""
    rows = rows_of([(found, month.text(), month.now, shop_day(month.now))], LOOK)
    open_table(month.lake, name).append(rows)


def test_no_release_is_older_than_the_one_before_it(month: Simulated) -> None:
    """A build may publish after midnight while a compaction that began before it is at work."""
    lake = month.lake
    month.passes(timedelta(days=1))
    for _ in range(3):
        month.sync()
    began = month.now + timedelta(days=1)
    published = publish(lake, renamed(following(newest(lake)), published_at=began + timedelta(minutes=9)))
    compact(lake, now=began)
    assert newest(lake).kind == COMPACTION
    assert newest(lake).published_at == published.published_at


def test_while_publishing_is_held_nothing_is_published(month: Simulated) -> None:
    """Compaction is, once somebody has resumed."""
    lake = month.lake
    month.passes(timedelta(days=1))
    month.sync()
    month.sync()
    current = newest(lake)
    run_rollback(lake, parent_of(lake, current), current=current, now=month.now, settings=LakeSettings())
    held = newest(lake)
    month.passes(timedelta(days=1))
    assert {one.table for one in compact(lake, now=month.now)} >= {BRONZE}
    assert newest(lake) == held
    run_resume(lake, now=month.now)
    compact(lake, now=month.now)
    assert newest(lake).kind == "resume"  # it is of an older bronze: what came since is to be built
    month.publish(held.tables)
    compact(lake, now=month.now)
    assert newest(lake).kind == "sync"  # a build names the heads itself


def following(parent: Release, kind: str = "sync") -> Release:
    """Return what a build that began on a release publishes."""
    return renamed(parent, release=parent.release + 1, parent=parent.release, kind=kind)


def test_a_build_under_way_publishes_after_a_compaction(month: Simulated) -> None:
    """Maintenance stops nobody: what it publishes shows the same, so that a build of that stands."""
    lake = month.lake
    month.sync()
    begun = newest(lake)
    for _ in range(2):  # twice: compactions may follow one another
        publish(lake, following(newest(lake), COMPACTION))
    made = publish(lake, following(begun))
    assert (made.release, made.parent) == (begun.release + 3, begun.release + 2)
    assert newest(lake) == made
    with pytest.raises(CommitConflict):  # of two builds one wins, as ever
        publish(lake, following(begun))
    with pytest.raises(CommitConflict):  # and a compaction follows what it has looked at
        publish(lake, following(begun, COMPACTION))
    assert current_release(lake) == made


def test_a_kept_day_holds_merged_files_alone(month: Simulated) -> None:
    """Forty syncs a day: each day's last release reads as ever, and their small files are gone."""
    lake, settings = month.lake, LakeSettings()
    month.passes(timedelta(hours=21))  # midnight in Kyiv, in summer
    said = {}
    for _ in range(4):
        for _ in range(40):
            month.passes(timedelta(minutes=35))
            month.sync()
        month.passes(timedelta(minutes=32))
        maintain(lake, settings, now=month.now)
        last = newest(lake)
        assert last.kind == COMPACTION
        said[last.release] = read_release(lake, last)
        month.passes(timedelta(minutes=8))
    month.sync()  # the release before the one that serves is kept in any case
    month.passes(timedelta(days=1))
    maintain(lake, settings, now=month.now)
    for release in list_releases(lake):
        if release.release in said:
            assert read_release(lake, release) == said[release.release]
    (bronze,) = (one for one in sizes(lake, settings, now=month.now) if one.table == BRONZE)
    assert bronze.retained < bronze.live / 10
    assert len(list(Path(lake.uri(BRONZE)).glob("*/*.parquet"))) < 15


def test_compactions_at_once_double_no_row(month: Simulated) -> None:
    """Each would put the same files' rows into a file of its own, and delta-rs alone takes both."""
    rows = small_files(month, 40)
    with ThreadPoolExecutor(4) as pool:
        merged = [pool.submit(compact, month.lake, now=month.now) for _ in range(4)]
    assert sorted(done.table for one in merged for done in one.result()) == [BRONZE, "ops.runs"]
    assert read(month.lake, BRONZE, open_table(month.lake, BRONZE).version) == rows


def interrupted_by(other: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let something else happen between the moment when files are merged and the commit; once."""
    commit_merged = compaction.commit_merged

    def late(*arguments: Any) -> bool:
        monkeypatch.setattr(compaction, "commit_merged", commit_merged)
        other()
        return commit_merged(*arguments)

    monkeypatch.setattr(compaction, "commit_merged", late)


def test_what_another_has_merged_meanwhile_is_left_to_it(
    month: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long a process stood still after it had read the files."""
    lake, rows = month.lake, small_files(month)
    interrupted_by(lambda: compact(lake, now=month.now), monkeypatch)
    assert compact(lake, now=month.now) == []
    assert read(lake, BRONZE, open_table(lake, BRONZE).version) == rows


def test_an_append_meanwhile_is_no_obstacle(month: Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ingest commits every second: what it brings stays, and the merged files are committed after it."""
    lake, rows = month.lake, small_files(month)
    interrupted_by(lambda: month.look([99999]), monkeypatch)
    assert [done.table for done in compact(lake, now=month.now)] == [BRONZE]
    now = read(lake, BRONZE, open_table(lake, BRONZE).version)
    assert now.filter(pc.field("id") == 99999).num_rows == 1
    assert now.filter(pc.field("id") != 99999).combine_chunks() == rows


def test_a_merged_file_says_of_its_columns_what_the_small_ones_said(lake: Lake) -> None:
    """The least, the greatest, and how many are missing; nothing where one of them did not say it."""
    schema = Contract.of(
        {"id": "BIGINT", "seen_at": "TIMESTAMPTZ?", "gone": "DATE?", "odd": "BIGINT?"}
    ).schema
    stamps = [datetime(2026, 6, 1, 12, 0, second, 123456, tzinfo=UTC) for second in (7, 3)]
    rows = [
        {"id": 5, "seen_at": stamps[0], "gone": None, "odd": 1},
        {"id": 9, "seen_at": None, "gone": None, "odd": 2},
        {"id": 2, "seen_at": stamps[1], "gone": None, "odd": 3},
    ]
    table = create_table(lake, "ops.things", schema)
    for row in rows:
        table.append(pa.Table.from_pylist([row], schema=schema))
    files = read_live(DeltaTable(lake.uri("ops.things")))
    silent = msgspec.structs.replace(files[0], least={"id": 5}, greatest={"id": 5}, nulls={"id": 0, "odd": 0})
    merged = in_place_of(files, path="one", size=1)
    assert (merged.rows, dict(merged.nulls)) == (3, {"id": 0, "seen_at": 1, "gone": 3, "odd": 0})
    assert merged.least == {"id": 2, "seen_at": stamps[1].replace(microsecond=123000), "odd": 1}
    assert merged.greatest == {"id": 9, "seen_at": stamps[0].replace(microsecond=123000), "odd": 3}
    assert in_place_of([silent, *files[1:]], path="one", size=1).least == {"id": 2}
    for row in rows * (MANY // 3):
        table.append(pa.Table.from_pylist([row], schema=schema))
    held = open_table(lake, "ops.things")
    assert compact(lake, now=NOON)
    now = open_table(lake, "ops.things")
    assert [now.maximum(name) for name in schema.names] == [held.maximum(name) for name in schema.names]
    assert [sorted(now.counts(name).items(), key=str) for name in schema.names] == [
        sorted(held.counts(name).items(), key=str) for name in schema.names
    ]
    (file,) = read_live(DeltaTable(lake.uri("ops.things")))
    assert (file.rows, dict(file.nulls)) == (33, {"id": 0, "seen_at": 11, "gone": 33, "odd": 0})
    assert file.least == merged.least


def test_the_command_names_the_release_and_the_next_one_shows_it(
    month: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the one before it was killed after it had published."""
    lake = month.lake
    monkeypatch.setenv("KEYLAKE_LAKE_ROOT", lake.root)
    (command,) = (one for one in COMMANDS if one.name == "compact")
    month.sync()
    refresh_catalogue(lake)
    with monkeypatch.context() as patch:
        patch.setattr("lake.query.catalogue.write_catalogue", lambda *_, **__: None)
        before = newest(lake).release
        for number in range(40):
            month.look([number])
        month.publish(newest(lake).tables)
        said = CliRunner().invoke(command, [], catch_exceptions=False).output
    assert f"release {before + 2} names them, and shows what release {before + 1} showed" in said
    assert catalogue_release(lake) == before
    assert "nothing to compact" in CliRunner().invoke(command, [], catch_exceptions=False).output
    assert catalogue_release(lake) == before + 2


def test_a_commit_whose_answer_was_lost_is_a_commit(
    month: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store may do what it was asked and not say so; what is merged is there, and stays."""
    lake, rows = month.lake, small_files(month)
    commit = DeltaTable.create_write_transaction

    def lost(delta: DeltaTable, *arguments: Any, **options: Any) -> None:
        commit(delta, *arguments, **options)
        raise CommitFailedError("no answer came")

    with monkeypatch.context() as patch:
        patch.setattr(DeltaTable, "create_write_transaction", lost)
        assert [done.table for done in compact(lake, now=month.now)] == [BRONZE]
    assert read(lake, BRONZE, open_table(lake, BRONZE).version) == rows


def test_files_of_different_partitions_are_never_one(lake: Lake) -> None:
    """What a folder says is not in the file: a witness would be another run's."""
    witnesses = make_witnesses(lake)
    runs = ("20260901T0000-a", "20260902T00:00-b")
    for number in range(MANY + 2):
        for run in runs:
            row = {"run_id": run, "id": number, "payload_hash": "x", "fetched_at": NOON}
            witnesses.append(pa.Table.from_pylist([row], schema=witnesses.schema))
    rows = read(lake, WITNESSES, open_table(lake, WITNESSES).version)
    (done,) = compact(lake, now=NOON)
    assert (done.files_before, done.files_after) == (2 * (MANY + 2), 2)
    held = open_table(lake, WITNESSES)
    assert read(lake, WITNESSES, held.version) == rows
    assert all(has_witness(held, run) for run in runs)


def test_what_an_erasure_changed_meanwhile_is_not_merged(
    month: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It found nothing left before the merged file was there: that one would bring it back."""
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
    """A table may have got it since; in the rows before it is null."""
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
