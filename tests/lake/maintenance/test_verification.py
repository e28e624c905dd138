"""Verification and repair of data files: damage is found, named, and repaired if that can be proven."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from lake.cli.maintenance import COMMANDS
from lake.delta import damage
from lake.delta.contract import Contract
from lake.delta.files import Files
from lake.delta.tables import create_table, open_table
from lake.errors import TableDamaged
from lake.ledgers.findings import read_damage
from lake.ledgers.runs import write_run
from lake.maintenance.compaction import compact_table
from lake.maintenance.damage_findings import Damage, write_damage
from lake.maintenance.file_repair import repair_files
from lake.maintenance.redaction import Redaction, erase
from lake.maintenance.verification import NIGHTS, Verified, verify
from lake.paths import Lake
from tests.support.built_lake import ENGINE, FEW, HISTORY, Shop, ingested_shop, instant
from tests.support.receipts import receipt

NOW = datetime(2026, 8, 3, 1, tzinfo=UTC)
MINUTES = count(1)
TABLES = ["bronze.orders", "rules.columns", "silver.orders", "gold.revenue_daily", "ops.releases"]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop with two releases; no test changes it."""
    shop = ingested_shop(tmp_path_factory.mktemp("verified") / "lake", models=FEW)
    shop.publish()
    shop.observe("bronze.orders", HISTORY["bronze.orders"].split("\n", 2)[1] + f" | fetched_at\n{late()}")
    shop.publish()
    return shop


def late() -> str:
    """Return an order of July that is observed after the others."""
    return f'7 | 2026-07-20 10:00 | 1 | 22 | 31 | 12 | 700.00 | {{"products":[]}} | {instant(1)}'


@pytest.fixture
def shop(first: Shop, tmp_path: Path) -> Shop:
    """The shop with two releases, for one test."""
    return first.copy(tmp_path / "lake")


def file_of(lake: Lake, name: str, version: int | None = None) -> Path:
    """Return the newest data file of a table's version."""
    return max(map(Path, open_table(lake, name, version).uris()), key=lambda file: file.stat().st_mtime_ns)


def rot(file: Path, *, bits: int = 1, at: int | None = None) -> bytes:
    """Flip bits in the middle of a file, 800 bits apart; return the old content."""
    content = file.read_bytes()
    rotten = bytearray(content)
    for number in range(bits):
        rotten[((at or len(content) // 3) + 100 * number) % len(content)] ^= 4
    file.write_bytes(rotten)
    return content


def verified(lake: Lake, *, deep: bool = False) -> Verified:
    """Verify a lake like a process that has read nothing yet, a minute after the last verification."""
    damage.INTACT.clear()
    return verify(lake, ENGINE, now=NOW + timedelta(minutes=next(MINUTES)), deep=deep)


def test_a_whole_lake_has_no_finding(shop: Shop) -> None:
    """Every file of every retained release is checked, and nothing is written."""
    heads = shop.heads()
    result = verified(shop.lake, deep=True)
    assert (result.damages, result.without_checksum) == ((), 0)
    assert result.files > 30
    assert shop.heads() == heads


LOST: dict[str, Callable[[Path], object]] = {
    "the whole log": lambda log: shutil.rmtree(log),
    "the last entry": lambda log: max(log.glob("*.json")).unlink(),
    "the whole table": lambda log: shutil.rmtree(log.parent),
}


@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize("name", ["bronze.orders", "silver.orders", "gold.revenue_daily"])
def test_a_lost_log_is_damage(shop: Shop, name: str, lost: str) -> None:
    """The current release names a version that is not there, whatever became of the log."""
    LOST[lost](Path(shop.lake.uri(name), "_delta_log"))
    [damage] = verified(shop.lake).damages
    assert (damage.table, damage.remedy) == (name, "run `just repair`")
    assert damage.reason.startswith("is missing")


def test_a_log_with_other_files_than_the_release_is_damage(shop: Shop) -> None:
    """An older entry that does not state its number stands in place of the last one."""
    log = Path(shop.lake.uri("gold.revenue_daily"), "_delta_log")
    before, last = sorted(log.glob("*.json"))[-2:]
    content = before.read_bytes().replace(b'"commitVersion"', b'"otherVersion"')
    last.unlink()
    last.write_bytes(content)
    [damage] = verified(shop.lake).damages
    assert damage.line.endswith("is not the commit of release 2; run `just repair`")


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("change", ["bit", "bits", "torn", "missing"])
def test_damage_is_one_line_and_a_finding_until_it_is_repaired(shop: Shop, name: str, change: str) -> None:
    """The line names table, file and recipe. A flipped bit is flipped back; other damage stays a finding."""
    file = file_of(shop.lake, name)
    content = file.read_bytes()
    path = str(file.relative_to(shop.lake.place))
    changes: dict[str, Callable[[], object]] = {
        "bit": lambda: rot(file),
        "bits": lambda: rot(file, bits=3),
        "torn": lambda: file.write_bytes(content[:-9]),
        "missing": file.unlink,
    }
    changes[change]()
    if name != "ops.releases":  # without it, nothing is known of the lake: every command refuses
        [found] = verified(shop.lake).damages
        assert (found.table, found.path) == (name, path)
        assert found.line.startswith(f"{name}: {file.name} ")
        assert found.line.endswith("; run `just repair`")
        assert read_damage(shop.lake) == {path}
        verified(shop.lake)
        assert read_damage(shop.lake) == {path}
    elif change != "missing":
        with pytest.raises(TableDamaged, match=f"^{name}: {file.name} .*run `just repair`$"):
            verified(shop.lake)
    repaired = repair_files(shop.lake)
    assert [each.how for each in repaired] == {"bit": ["one bit was flipped back"], "missing": []}.get(
        change, [None]
    )
    if change != "bit":
        file.write_bytes(content)
    assert file.read_bytes() == content
    assert verified(shop.lake).damages == ()
    assert read_damage(shop.lake) == set()


def test_a_backup_has_what_no_checksum_can_repair(shop: Shop, tmp_path: Path) -> None:
    """A file that no build writes again is copied from a backup, or from an equal file."""
    old = file_of(shop.lake, "gold.revenue_daily", 1)
    copy = shop.copy(tmp_path / "backup").lake
    content = rot(old, bits=5)
    [found] = verified(shop.lake).damages
    assert found.releases == (1,) or 2 in found.releases
    assert [each.how for each in repair_files(shop.lake)] == [None]
    assert [each.how for each in repair_files(shop.lake, copy)] == ["copied from the backup"]
    assert old.read_bytes() == content
    twin = old.with_name(old.name.replace(old.name[5:21], "0" * 16))
    twin.write_bytes(content)
    rot(old, bits=5)
    assert [each.how for each in repair_files(shop.lake)] == ["copied from an equal file"]
    assert old.read_bytes() == content


def test_a_backup_does_not_bring_an_erased_person_back(shop: Shop, tmp_path: Path) -> None:
    """A file that was erased is not replaced by the copy from before the erasure."""
    copy = shop.copy(tmp_path / "backup").lake
    erase(shop.lake, [Redaction("bronze.buyers", "id", {31}, {"full_name": lambda _: None})])
    file = file_of(shop.lake, "bronze.buyers")
    rot(file, bits=3, at=40)
    assert [each.how for each in repair_files(shop.lake, copy)] == [None]


def test_each_file_is_due_once_in_seven_nights(shop: Shop) -> None:
    """The shares of seven nights are disjoint, and together they are all files."""
    nights = [
        verify(shop.lake, ENGINE, now=NOW + timedelta(days=day), share=True).files for day in range(NIGHTS)
    ]
    assert sum(nights) == verified(shop.lake).files
    assert max(nights) < verified(shop.lake).files / 2
    rot(file_of(shop.lake, "silver.orders"))
    found = [
        len(verify(shop.lake, ENGINE, now=NOW + timedelta(days=day), share=True).damages)
        for day in range(1, 2 * NIGHTS + 1)
    ]
    assert found[NIGHTS - 1 :] == [1] * (NIGHTS + 1)  # a known one is checked every night


def test_a_file_without_a_checksum_is_decoded(lake: Lake) -> None:
    """Files of older releases count as such; damage that can't be decoded is found, and refuses no reader."""
    schema = Contract.of({"id": "BIGINT"}).schema
    table = create_table(lake, "ops.things", schema)
    table.append(pa.table({"id": range(50)}, schema=schema))
    [uri] = table.uris()
    old = Path(uri).with_name("part-00000-0d9f8b1e-6b7e-4b7a-9c63-6a0c8d9f5b11-c000.zstd.parquet")
    for entry in Path(lake.uri("ops.things")).glob("_delta_log/*1.json"):
        text = entry.read_text().replace(Path(uri).name, old.name)
        entry.unlink()
        entry.write_text(text.replace("actionsDigest", "otherDigest"))
    Path(uri).rename(old)
    assert (verified(lake).without_checksum, verified(lake).damages) == (1, ())
    chunk = pq.ParquetFile(old).metadata.row_group(0).column(0)
    rot(old, at=chunk.data_page_offset + chunk.total_compressed_size - 3)
    assert len(verified(lake).damages) == 1


def test_compaction_and_erasure_do_not_hide_damage(lake: Lake) -> None:
    """A file that is written again would have a valid checksum: damaged files are not written again."""
    schema = Contract.of({"id": "BIGINT", "name": "VARCHAR"}).schema
    table = create_table(lake, "bronze.things", schema)
    for number in range(40):
        table.append(pa.table({"id": [number], "name": ["Оксана"]}, schema=schema))
    rot(file_of(lake, "bronze.things"))
    assert compact_table(lake, "bronze.things", "2026-06-01") is None
    with pytest.raises(TableDamaged, match=r"^bronze\.things: .*`just repair`"):
        erase(lake, [Redaction("bronze.things", "id", {39}, {"name": lambda _: ""})])


def test_a_damage_knows_if_only_older_releases_need_its_file(shop: Shop) -> None:
    """Such a file is no reason to build again; the line names the releases and the backup."""
    file = file_of(shop.lake, "gold.revenue_daily", 1)
    shop.observe("bronze.orders", HISTORY["bronze.orders"].split("\n", 2)[1] + f" | fetched_at\n{late()}")
    rot(file, bits=3)
    found = [each for each in verified(shop.lake).damages if not each.is_current]
    for each in found:
        assert "`just repair --from BACKUP`" in each.line
        assert msgspec.structs.asdict(each)["releases"] == (1,)


def test_a_lake_in_an_object_store_is_verified_and_repaired(s3_lake: Lake) -> None:
    """Builds leave these files to the store; a verification reads them all the same."""
    schema = Contract.of({"id": "BIGINT"}).schema
    table = create_table(s3_lake, "ops.things", schema)
    table.append(pa.table({"id": range(50)}, schema=schema))
    assert (verified(s3_lake).files, verified(s3_lake).damages) == (1, ())
    files = Files(s3_lake.place)
    [path] = [path for path in files.sizes() if path.endswith(".parquet")]
    content = files.read(path)
    files.write(path, [content[:99] + bytes([content[99] ^ 1]) + content[100:]])
    assert [each.path for each in verified(s3_lake).damages] == [path]
    assert [each.how for each in repair_files(s3_lake)] == ["one bit was flipped back"]
    assert files.read(path) == content


@pytest.mark.parametrize("name", ["ops.releases", "ops.findings", "ops.runs"])
def test_a_ledger_without_a_backup_can_be_forgotten(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The message names both ways out; without what the file recorded, a build equals a full one."""
    write_run(shop.lake, receipt(NOW))
    write_damage(shop.lake, [Damage("gold.x", "gold/x", "is missing")], known=set(), now=NOW)
    monkeypatch.setenv("KEYLAKE_LAKE_ROOT", shop.lake.root)
    rot(file_of(shop.lake, name), bits=5)
    damage.INTACT.clear()
    (repair,) = (command for command in COMMANDS if command.name == "repair")
    failed = CliRunner().invoke(repair)
    assert "`just repair --forget`" in f"{failed.output} {failed.exception}"
    done = CliRunner().invoke(repair, ["--forget"], catch_exceptions=False)
    assert "removed, what it recorded is lost" in done.output
    shop.build()
    assert verified(shop.lake).damages == ()
    assert shop.read() == shop.rebuilt_copy(tmp_path / "rebuilt").read()
