"""Log repair: what a damaged log hides is read again or refused, and is never shown as something else."""

import os
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from ingest.schemas import SCHEMAS
from lake.delta import log_check
from lake.delta.log_check import WHOLE
from lake.delta.properties import CHECKPOINTED
from lake.delta.tables import list_tables, open_table
from lake.errors import TableDamaged, TableMissing
from lake.ledgers.runs import LEDGER as RUNS
from lake.maintenance.log_repair import repair_logs
from lake.paths import LAYERS, Lake
from lake.query.catalogue import refresh_catalogue, write_catalogue
from lake.releases.release import LEDGER, Release, current_release, find_release
from tests.support.built_lake import ENGINE, FEW, Shop, ingested_shop, instant
from tests.support.receipts import receipt
from tests.support.text_tables import bronze_rows

CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda content: b"",
    "torn": lambda content: content[: len(content) // 2],
    "other_size": lambda content: content.replace(b'"size":', b'"size":1', 1),
}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop with two releases; no test changes it."""
    shop = ingested_shop(tmp_path_factory.mktemp("damaged") / "lake", models=FEW)
    RUNS.append(shop.lake, [receipt(datetime(2026, 8, 1, tzinfo=UTC), run_id="")])
    shop.publish()
    shop.observe(
        "bronze.orders",
        "id | ordered_at | source_id | status_id | grand_total | payload | fetched_at\n"
        f'9 | 2026-06-20 10:00 | 1 | 12 | 90.00 | {{"products":[]}} | {instant(1)}',
    )
    shop.publish()
    return shop


@pytest.fixture
def shop(first: Shop, tmp_path: Path) -> Shop:
    """The shop with two releases, for one test."""
    return first.copy(tmp_path / "lake")


def damage(lake: Lake, name: str, change: Callable[[bytes], bytes], *, back: int = 0) -> int:
    """Change the newest entry of a table's log, or one ``back`` before it; return its version."""
    *_, file = sorted(Path(lake.uri(name)).glob("_delta_log/*.json"))[: -back or None]
    content = file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(change(content))
    file.chmod(0o444)
    WHOLE.clear()  # as in another process
    return int(file.stem)


def test_a_whole_lake_is_left_alone(shop: Shop) -> None:
    """Nothing is written, also for a table that has no commit yet."""
    heads = shop.heads()
    (Path(shop.lake.uri("gold.soon")) / "_delta_log").mkdir(parents=True)
    assert repair_logs(shop.lake, ENGINE) == []
    shutil.rmtree(shop.lake.uri("gold.soon"))
    assert shop.heads() == heads


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["gold.revenue_daily", "silver.orders", "rules.columns"])
def test_a_damaged_table_is_refused_until_repair_and_build(shop: Shop, name: str, change: str) -> None:
    """No figure is served from it; then the same figures are published as a new release."""
    expected = shop.read()
    lost = damage(shop.lake, name, CHANGES[change])
    with pytest.raises(TableDamaged, match=rf"^{name}: log entry {lost} .*`just repair`$"):
        shop.read()
    with pytest.raises(TableDamaged):
        shop.build()
    (repaired,) = repair_logs(shop.lake, ENGINE)
    assert (repaired.table, repaired.version) == (name, lost + 1)
    with pytest.raises(TableMissing):
        shop.read()
    release = shop.publish()
    assert release.tables[name] > lost
    assert shop.read() == expected
    assert shop.build() is None


@pytest.mark.parametrize("back", [0, 1])
@pytest.mark.parametrize("change", CHANGES)
def test_rows_of_a_damaged_commit_of_bronze_are_recovered(shop: Shop, change: str, back: int) -> None:
    """Their file is there still: no observation is lost, and none is doubled."""
    expected = shop.read()
    rows = open_table(shop.lake, "bronze.orders").read().num_rows
    damage(shop.lake, "bronze.orders", CHANGES[change], back=back)
    (repaired,) = repair_logs(shop.lake, ENGINE)
    assert repaired.rows == (1, 6)[back]
    assert open_table(shop.lake, "bronze.orders").read().num_rows == rows
    shop.publish()
    assert shop.read() == expected
    assert repair_logs(shop.lake, ENGINE) == []


@pytest.mark.parametrize("back", [0, 1])
@pytest.mark.parametrize("name", ["gold.revenue_daily", "silver.orders"])
def test_a_table_without_an_entry_of_its_log_is_refused_until_repair(
    shop: Shop, name: str, back: int
) -> None:
    """Another program deleted the last entry or one before it; its number is not used again."""
    expected = shop.read()
    *_, file = sorted(Path(shop.lake.uri(name)).glob("_delta_log/*.json"))[: -back or None]
    file.unlink()
    with pytest.raises(TableDamaged, match="`just repair`"):
        shop.build()
    (repaired,) = repair_logs(shop.lake, ENGINE)
    assert (repaired.lost, repaired.version) == ((), 3)
    assert shop.publish().tables[name] > 3
    assert shop.read() == expected
    with pytest.raises(TableMissing):
        shop.read(2)


@pytest.mark.parametrize("change", CHANGES)
def test_a_damaged_commit_of_the_releases_is_refused_and_recovered(shop: Shop, change: str) -> None:
    """The numbers of releases never start again, and the newest release serves as before."""
    expected = shop.read()
    damage(shop.lake, "ops.releases", CHANGES[change])
    with pytest.raises(TableDamaged, match=r"^ops\.releases: log entry"):
        shop.build()
    (repaired,) = repair_logs(shop.lake, ENGINE)
    assert (repaired.rows, shop.releases()) == (1, [2, 1])
    assert shop.read() == expected
    assert shop.build() is None


def test_a_release_that_lost_a_race_is_not_recovered(shop: Shop) -> None:
    """Two files have a row with the lost number: none of them is published again."""
    release = find_release(shop.lake, None)
    rival = msgspec.structs.replace(release, kind="rival")
    open_table(shop.lake, "ops.releases").stage(LEDGER.rows([rival]))
    damage(shop.lake, "ops.releases", CHANGES["emptied"])
    (repaired,) = repair_logs(shop.lake, ENGINE)
    assert (repaired.rows, shop.releases()) == (0, [1])


def stage_release(shop: Shop, number: int) -> Release:
    """Write the file of a release that is never committed."""
    release = msgspec.structs.replace(find_release(shop.lake, None), release=number, kind="killed")
    open_table(shop.lake, "ops.releases").stage(LEDGER.rows([release]))
    return release


def test_a_release_in_the_middle_is_recovered_and_one_that_was_never_published_is_not(shop: Shop) -> None:
    """Release 1 is missing between others. A publish of release 3 was killed before its commit."""
    stage_release(shop, 3)
    damage(shop.lake, "ops.releases", CHANGES["emptied"], back=1)
    (repaired,) = repair_logs(shop.lake, ENGINE)
    assert (repaired.rows, shop.releases()) == (1, [2, 1])
    assert find_release(shop.lake, 1).kind != "killed"


def stage_order(shop: Shop, run_id: str) -> Path:
    """Write the file of an order that is never committed; return the file."""
    text = f"id | run_id | payload | fetched_at\n777 | {run_id} | {{}} | {instant(2)}"
    table = open_table(shop.lake, "bronze.orders")
    (file,) = table.stage(bronze_rows("bronze.orders", text)).files
    return Path(table.place) / file.path


@pytest.mark.parametrize("back", [0, 1])
def test_rows_of_a_killed_run_are_not_recovered(shop: Shop, back: int) -> None:
    """A run that ended has a receipt. Another one's staged files were perhaps never committed."""
    expected = sorted(open_table(shop.lake, "bronze.orders").read(["id"])["id"].to_pylist())
    stage_order(shop, "killed")
    damage(shop.lake, "bronze.orders", CHANGES["emptied"], back=back)
    (repaired,) = repair_logs(shop.lake, ENGINE)
    assert repaired.rows == (1, 6)[back]
    assert sorted(open_table(shop.lake, "bronze.orders").read(["id"])["id"].to_pylist()) == expected


def test_files_of_another_time_are_not_recovered(shop: Shop) -> None:
    """What was removed from the table days before the lost commit stays removed."""
    file = stage_order(shop, "")
    os.utime(file, (time.time() - 3 * 86400,) * 2)
    damage(shop.lake, "bronze.orders", CHANGES["emptied"])
    (repaired,) = repair_logs(shop.lake, ENGINE)
    assert repaired.rows == 1


def test_lost_receipts_are_recovered_before_the_rows_of_their_runs(shop: Shop) -> None:
    """Receipts and orders are damaged together."""
    damage(shop.lake, "ops.runs", CHANGES["emptied"])
    damage(shop.lake, "bronze.orders", CHANGES["emptied"])
    assert {each.table: each.rows for each in repair_logs(shop.lake, ENGINE)} == {
        "ops.runs": 1,
        "bronze.orders": 1,
    }


def test_a_repair_that_was_killed_before_it_appended_rows_is_done_again(shop: Shop) -> None:
    """The damaged entry is set aside last."""
    lost = damage(shop.lake, "bronze.orders", CHANGES["emptied"])
    rows = open_table(shop.lake, "bronze.orders", lost - 1).read().num_rows
    repair_logs(shop.lake, ENGINE)
    log = Path(shop.lake.uri("bronze.orders")) / "_delta_log"
    (log / f"{lost + 2:020d}.json").unlink()
    (log / f"torn#{lost:020d}.json").rename(log / f"{lost:020d}.json")
    WHOLE.clear()
    (repaired,) = repair_logs(shop.lake, ENGINE)
    assert repaired.rows == 1
    assert open_table(shop.lake, "bronze.orders").read().num_rows == rows + 1


@pytest.mark.parametrize("is_deleted", [False, True])
def test_a_lost_entry_of_a_checkpoint_is_no_commit_without_rows(shop: Shop, is_deleted: bool) -> None:
    """The checkpoint has its rows, but builds read from the entry which rows are new."""
    table = open_table(shop.lake, "bronze.orders")
    for number in range(table.version + 1, CHECKPOINTED):
        text = f"id | payload | fetched_at\n{800 + number} | {{}} | {instant(5)}"
        table.append(bronze_rows("bronze.orders", text))
    last = table.version + 1
    (entry,) = list(Path(table.place).glob(f"_delta_log/*{CHECKPOINTED - 1}.json"))
    assert table.version == CHECKPOINTED - 1
    assert entry.with_suffix(".checkpoint.parquet").exists()
    damage(shop.lake, "bronze.orders", CHANGES["emptied"])
    if is_deleted:
        entry.unlink()
    (repaired,) = repair_logs(shop.lake, ENGINE)
    assert (repaired.rows, repaired.version) == (0, last)
    repaired_table = open_table(shop.lake, "bronze.orders")
    assert repaired_table.appended("id", after=CHECKPOINTED - 2) == {800 + CHECKPOINTED - 1}
    assert repaired_table.read().num_rows == table.read().num_rows
    assert repair_logs(shop.lake, ENGINE) == []


def test_an_emptied_entry_of_every_table_is_refused(shop: Shop) -> None:
    """The system's root empties a sealed entry, and its permissions stay."""
    names = [name for layer in LAYERS for name in list_tables(shop.lake, layer)]
    assert {name.split(".")[0] for name in names} == set(LAYERS)
    assert set(SCHEMAS) < set(names)
    for name in names:
        damage(shop.lake, name, CHANGES["emptied"])
        with pytest.raises(TableDamaged, match="is empty"):
            open_table(shop.lake, name)


@pytest.mark.parametrize("has_restarted", [False, True])
@pytest.mark.parametrize("is_recoverable", [False, True])
def test_a_release_that_the_catalogue_has_is_not_published_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, has_restarted: bool, is_recoverable: bool
) -> None:
    """The last commit was made writable and emptied. After a restart it looks like a power cut's."""
    expected = shop.read()
    write_catalogue(shop.lake, find_release(shop.lake, None))
    if has_restarted:
        monkeypatch.setattr(log_check, "booted_at", lambda: time.time() + 60)
    if not is_recoverable:
        stage_release(shop, 2)  # two files have a release with this number
    version = damage(shop.lake, "ops.releases", CHANGES["emptied"])
    file = Path(shop.lake.uri("ops.releases")) / f"_delta_log/{version:020d}.json"
    file.chmod(0o644)
    if has_restarted:
        assert current_release(shop.lake) == find_release(shop.lake, 1)
    for action in (shop.build, lambda: refresh_catalogue(shop.lake)):
        with pytest.raises(TableDamaged, match="`just repair`"):
            action()
    (repaired,) = repair_logs(shop.lake, ENGINE)
    assert (repaired.rows, shop.releases()) == ((1, [2, 1]) if is_recoverable else (0, [1]))
    assert repair_logs(shop.lake, ENGINE) == []
    shop.build()
    assert shop.read() == expected
    assert shop.lake.catalogue
    assert shop.lake.catalogue.exists()


def test_a_lost_version_is_never_another_one(shop: Shop) -> None:
    """A release that references a lost version is refused for ever, also after new commits."""
    damage(shop.lake, "gold.revenue_daily", CHANGES["emptied"])
    repair_logs(shop.lake, ENGINE)
    shop.publish()
    with pytest.raises(TableMissing):
        shop.read(2)
    assert shop.read(1)["gold.revenue_daily"] != shop.read()["gold.revenue_daily"]


def test_a_repair_that_was_killed_is_finished(shop: Shop) -> None:
    """It was killed after it wrote the checkpoint: the next one sets the damaged entry aside."""
    expected = shop.read()
    lost = damage(shop.lake, "gold.revenue_daily", CHANGES["torn"])
    repair_logs(shop.lake, ENGINE)
    log = Path(shop.lake.uri("gold.revenue_daily")) / "_delta_log"
    (log / f"torn#{lost:020d}.json").rename(log / f"{lost:020d}.json")
    (repaired,) = repair_logs(shop.lake, ENGINE)
    assert repaired.version == lost + 1
    shop.publish()
    assert shop.read() == expected


def test_fewer_rows_than_were_published_are_refused(shop: Shop) -> None:
    """If a log was replaced by another one, the rows that the release recorded show it."""
    old, new = (Path(shop.lake.uri("gold.revenue_daily")) / f"_delta_log/{n:020d}.json" for n in (1, 2))
    new.chmod(0o644)
    new.write_bytes(old.read_bytes().replace(b'"commitVersion"', b'"otherVersion"'))
    WHOLE.clear()
    with pytest.raises(TableDamaged, match=r"has \d+ rows, and had \d+ when release 2 was published"):
        shop.read()
    expected = shop.rebuilt_copy(Path(shop.lake.root).with_name("rebuilt")).read()
    assert shop.publish().release == 3
    assert shop.read() == expected
