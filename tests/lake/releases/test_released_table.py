"""Released table: a log that is valid, but not the one that the release was published with, is refused."""

import random
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from ingest.run import RunRequest, plan_run
from lake.delta.checksum_file import write_checksum
from lake.delta.log_check import WHOLE
from lake.delta.tables import create_table, open_table
from lake.errors import TableDamaged
from lake.ledgers.runs import write_run
from lake.maintenance.log_repair import repair_logs
from lake.paths import Lake
from lake.query.session import open_session
from lake.releases.release import LEDGER, current_release, find_release, publish
from lake.releases.released_table import changed_versions
from tests.support.built_lake import ENGINE, FEW, Shop, ingested_shop
from tests.support.receipts import receipt
from tests.transform.test_build import edit_order

Change = Callable[[Path, Path], None]


@pytest.fixture(scope="module")
def of_three(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop with three releases of the same number of rows; no test changes it."""
    shop = ingested_shop(tmp_path_factory.mktemp("three") / "lake", models=FEW)
    shop.publish()
    for minute, total in ((1, "210.00"), (2, "220.00")):
        edit_order(shop, total=total, minute=minute)
        shop.publish()
    # Rows without a run id, as the test's, are of this run.
    write_run(shop.lake, receipt(datetime(2026, 8, 1, tzinfo=UTC), run_id=""))
    return shop


def entries(shop: Shop, name: str) -> tuple[Path, Path]:
    """Return the last two entries of a table's log."""
    log = Path(shop.lake.uri(name), "_delta_log")
    before, last = sorted(file for file in log.glob("*.json"))[-2:]
    return before, last


def put_older(before: Path, last: Path) -> None:
    """Put the entry before in place of the last one; neither states its number."""
    content = before.read_bytes().replace(b'"commitVersion"', b'"otherVersion"')
    last.unlink()
    last.write_bytes(content)
    last.chmod(0o444)


def move_file(_: Path, last: Path) -> None:
    """Let the entry name a file of another month, without what a commit states of its files."""
    lines = [msgspec.json.decode(line) for line in last.read_bytes().splitlines()]
    for line in lines:
        line.get("commitInfo", {}).pop("actionsDigest", None)
        if "add" in line and line["add"]["partitionValues"]:
            line["add"]["partitionValues"] = {"month": "2026-01-01"}
    last.unlink()
    last.write_bytes(b"\n".join(map(msgspec.json.encode, lines)) + b"\n")
    last.chmod(0o444)


@pytest.mark.parametrize("change", [put_older, move_file])
@pytest.mark.parametrize("name", ["silver.orders", "gold.revenue_daily"])
def test_a_release_with_another_valid_log_is_refused_and_built_again(
    of_three: Shop, tmp_path: Path, name: str, change: Change
) -> None:
    """No session opens; the next build writes the table again and equals a full one."""
    shop = of_three.copy(tmp_path / "lake")
    release = find_release(shop.lake, None)
    change(*entries(shop, name))
    with pytest.raises(TableDamaged, match=rf"^{name}: .*run `just repair`$"):
        open_session(shop.lake, ENGINE, release)
    edit_order(shop, total="230.00", minute=3)
    shop.publish()
    assert shop.read() == shop.rebuilt_copy(tmp_path / "rebuilt").read()


@pytest.mark.parametrize("later", [False, True])
def test_a_build_from_another_valid_log_of_bronze_is_refused(
    of_three: Shop, tmp_path: Path, later: bool
) -> None:
    """An observation is missing in bronze, whether or not others were appended since."""
    shop = of_three.copy(tmp_path / "lake")
    before = shop.releases()
    put_older(*entries(shop, "bronze.orders"))
    if later:
        edit_order(shop, total="230.00", minute=3)
    with pytest.raises(TableDamaged, match=r"^bronze\.orders: .*run `just repair`$"):
        shop.build()
    assert shop.releases() == before
    shop.build(full=True)


def test_a_release_that_recorded_no_files_opens(of_three: Shop, tmp_path: Path) -> None:
    """A release of an older version of this project has no digests; its number of rows is compared."""
    lake = of_three.copy(tmp_path / "lake").lake
    release = find_release(lake, None)
    old = msgspec.structs.replace(release, release=4, parent=3, digests={})
    publish(lake, old)
    assert current_release(lake) == old
    with open_session(lake, ENGINE, old) as session:
        assert session.execute("select count(*) from gold.revenue_daily").fetchone()


def test_a_ledger_gets_the_columns_that_it_lacks(of_three: Shop, lake: Lake) -> None:
    """The first publish of a newer version adds them, and the older releases have their defaults."""
    release = find_release(of_three.lake, 1)
    columns = pa.schema([field for field in LEDGER.schema if field.name != "digests"])
    create_table(lake, LEDGER.name, columns).append(LEDGER.rows([release]).select(columns.names))
    old = msgspec.structs.replace(release, digests={})
    assert current_release(lake) == old
    publish(lake, msgspec.structs.replace(release, release=2, parent=1))
    assert find_release(lake, 1) == old
    assert find_release(lake, None).digests == release.digests
    assert open_table(lake, LEDGER.name).schema == LEDGER.schema


@pytest.mark.parametrize("name", ["bronze.orders", "silver.orders", "gold.revenue_daily"])
@pytest.mark.parametrize("later", [False, True])
def test_a_repair_of_another_valid_log_recovers_its_rows(
    of_three: Shop, tmp_path: Path, name: str, later: bool
) -> None:
    """The data file of the lost commit is in the folder still; the next build equals one of whole bronze."""
    shop, whole = of_three.copy(tmp_path / "lake"), of_three.copy(tmp_path / "whole")
    put_older(*entries(shop, name))
    if later:
        edit_order(shop, total="230.00", minute=3)
        edit_order(whole, total="230.00", minute=3)
    assert [repaired.table for repaired in repair_logs(shop.lake, ENGINE)] == [name]
    shop.build()
    assert not changed_versions(shop.lake, find_release(shop.lake, None))
    assert repair_logs(shop.lake, ENGINE) == []
    assert shop.read() == whole.rebuilt_copy(tmp_path / "rebuilt").read()


@pytest.mark.parametrize("name", ["bronze.orders", "bronze.managers", "silver.orders", "gold.revenue_daily"])
def test_a_log_that_is_lost_as_a_whole_is_made_from_the_data_files(
    of_three: Shop, tmp_path: Path, name: str
) -> None:
    """Rows of bronze come back under a new number; the next build writes silver and gold again."""
    shop = of_three.copy(tmp_path / "lake")
    release = find_release(shop.lake, None)
    shutil.rmtree(Path(shop.lake.uri(name), "_delta_log"))
    with pytest.raises(TableDamaged, match=rf"^{name}: .*run `just repair`$"):
        open_session(shop.lake, ENGINE, release)
    repair_logs(shop.lake, ENGINE)
    shop.build()
    assert shop.read() == of_three.rebuilt_copy(tmp_path / "rebuilt").read()
    head = open_table(shop.lake, name)
    if name.startswith("bronze."):
        assert head.version > release.consumed[name]
        assert head.schema == open_table(of_three.lake, name).schema
        assert head.read().num_rows == open_table(of_three.lake, name).read().num_rows


def test_an_ingest_does_not_take_the_number_of_a_lost_version(of_three: Shop, tmp_path: Path) -> None:
    """The head of bronze was deleted: a run would commit the version that the release was built from."""
    shop = of_three.copy(tmp_path / "lake")
    entries(shop, "bronze.orders")[1].unlink()
    with pytest.raises(TableDamaged, match=r"^bronze\.orders: .*run `just repair`$"):
        plan_run(RunRequest(kind="full"), shop.lake)
    repair_logs(shop.lake, ENGINE)
    plan_run(RunRequest(kind="full"), shop.lake)
    shop.build()
    assert shop.read() == of_three.rebuilt_copy(tmp_path / "rebuilt").read()


def damage_checkpoint(lake: Lake, name: str, dice: random.Random) -> None:
    """Leave a log with a checkpoint alone, without a checksum, and flip one bit of it or several."""
    DeltaTable(lake.uri(name)).create_checkpoint()
    log = Path(lake.uri(name), "_delta_log")
    [file] = log.glob("*.checkpoint.parquet")
    for other in (*log.glob("*.json"), *log.glob("*.sum")):
        if other.name != f"{file.name[:20]}.json":
            other.unlink()
    flip_bits(file, dice, dice.choice([1, 9, 17]))


def damage_known_checkpoint(lake: Lake, name: str, dice: random.Random) -> None:
    """Flip bits of a checkpoint that has a checksum, and whose entries are all there."""
    DeltaTable(lake.uri(name)).create_checkpoint()
    [file] = Path(lake.uri(name), "_delta_log").glob("*.checkpoint.parquet")
    write_checksum(file)
    flip_bits(file, dice, 9)


def damage_first_entry(lake: Lake, name: str, dice: random.Random) -> None:
    """Flip a bit in the entry with the protocol and the columns; the text of its columns is most of it."""
    flip_bits(Path(lake.uri(name), "_delta_log", f"{0:020d}.json"), dice, 1)


def flip_bits(file: Path, dice: random.Random, bits: int) -> None:
    """Flip some bits of a sealed file of a log."""
    content = bytearray(file.read_bytes())
    for _ in range(bits):
        content[dice.randrange(4, len(content))] ^= 1 << dice.randrange(8)
    file.chmod(0o644)
    file.write_bytes(content)
    file.chmod(0o444)
    WHOLE.clear()


@pytest.mark.parametrize("damage", [damage_checkpoint, damage_known_checkpoint, damage_first_entry])
@pytest.mark.parametrize("name", ["bronze.orders", "rules.columns", "silver.orders", "gold.revenue_daily"])
def test_a_log_that_does_not_describe_its_table_is_harmless_or_repaired(
    of_three: Shop,
    tmp_path: Path,
    name: str,
    damage: Callable[[Lake, str, random.Random], None],
) -> None:
    """No wrong row is read; a repair and a build show what whole bronze gives."""
    shop = of_three.copy(tmp_path / "lake")
    damage(shop.lake, name, random.Random(f"{name} 1"))
    try:
        shown = shop.read()
        head = open_table(shop.lake, name).version
    except TableDamaged:
        repair_logs(shop.lake, ENGINE)
        shop.build()
        shown, head = shop.read(), open_table(shop.lake, name).version
    assert shown == of_three.read()
    assert head >= 0


def test_an_empty_table_gets_its_columns_from_its_damaged_entry(of_three: Shop, tmp_path: Path) -> None:
    """No data file tells them; the protocol in the only entry is not readable."""
    shop = of_three.copy(tmp_path / "lake")
    entry = Path(shop.lake.uri("bronze.rejected"), "_delta_log", f"{0:020d}.json")
    before = open_table(shop.lake, "bronze.rejected")
    entry.chmod(0o644)
    entry.write_bytes(entry.read_bytes().replace(b'"minReaderVersion":', b'"minReaderVersioo":'))
    entry.chmod(0o444)
    WHOLE.clear()
    with pytest.raises(TableDamaged):
        shop.build()
    repair_logs(shop.lake, ENGINE)
    assert open_table(shop.lake, "bronze.rejected").schema == before.schema
    assert open_table(shop.lake, "bronze.rejected").partition_by == before.partition_by
    shop.build()
    assert shop.read() == of_three.read()
