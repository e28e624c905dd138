"""Log repair: what a damaged log hides is read again or refused, and is never shown as something else."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from lake.delta.log_check import WHOLE
from lake.delta.table import open_table
from lake.errors import TableDamaged, TableMissing
from lake.maintenance.log_repair import repair_logs
from lake.paths import Lake
from lake.releases.release import LEDGER, find_release
from tests.support.built_lake import ENGINE, FEW, Shop, ingested_shop, instant

CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda content: b"",
    "torn": lambda content: content[: len(content) // 2],
    "other_size": lambda content: content.replace(b'"size":', b'"size":1', 1),
}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop with two releases; no test changes it."""
    shop = ingested_shop(tmp_path_factory.mktemp("damaged") / "lake", models=FEW)
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
    """Nothing is written."""
    heads = shop.heads()
    assert repair_logs(shop.lake, ENGINE) == []
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
    new.write_bytes(old.read_bytes().replace(b'"commitInfo":{', b'"commitInfo":{"x":1,'))
    WHOLE.clear()
    with pytest.raises(TableDamaged, match=r"has \d+ rows, and had \d+ when release 2 was published"):
        shop.read()
    expected = shop.rebuilt_copy(Path(shop.lake.root).with_name("rebuilt")).read()
    assert shop.publish().release == 3
    assert shop.read() == expected
