"""Damage and builds: a value that a disk has changed is never published, and is built again."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from lake.delta import damage
from lake.delta.tables import open_table
from lake.errors import TableDamaged
from lake.maintenance.verification import verify
from tests.lake.maintenance.test_verification import file_of, rot
from tests.support.built_lake import ENGINE, FEW, Shop, ingested_shop, instant

MORE = f"""
    id | ordered_at       | source_id | status_id | grand_total | payload         | fetched_at
    9  | 2026-06-20 10:00 | 1         | 12        | 90.00       | {{"products":[]}} | {instant(1)}
"""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop with one release; no test changes it."""
    shop = ingested_shop(tmp_path_factory.mktemp("damaged") / "lake", models=FEW)
    shop.publish()
    return shop


@pytest.fixture
def shop(first: Shop, tmp_path: Path) -> Shop:
    """The shop with one release, for one test."""
    damage.INTACT.clear()
    return first.copy(tmp_path / "lake")


@pytest.mark.parametrize("name", ["bronze.orders", "bronze.managers"])
def test_a_build_refuses_damaged_bronze(shop: Shop, name: str) -> None:
    """The build ends in one line with table, file and recipe; the last release keeps serving."""
    expected = shop.read()
    shop.observe("bronze.orders", MORE)
    file = file_of(shop.lake, name)
    rot(file, bits=2)
    with pytest.raises(TableDamaged, match=f"^{name}: {file.name}.* not as it was written.*`just repair`$"):
        shop.build(full=True)
    assert shop.releases() == [1]
    assert shop.read() == expected


def test_an_incremental_build_refuses_a_damaged_new_file(shop: Shop) -> None:
    """The ids that changed are read from the new files, so these are checked before."""
    shop.observe("bronze.orders", MORE)
    rot(file_of(shop.lake, "bronze.orders"))
    with pytest.raises(TableDamaged, match=r"^bronze\.orders: "):
        shop.build()
    assert shop.releases() == [1]


@pytest.mark.parametrize("name", ["silver.orders", "gold.revenue_daily", "silver.managers", "rules.columns"])
def test_a_full_build_writes_a_damaged_file_again(shop: Shop, name: str) -> None:
    """The rows are equal to those that were published, and the table has other files."""
    expected, file = shop.read(), file_of(shop.lake, name)
    rot(file, bits=2)
    release = shop.publish(full=True)
    assert str(file) not in open_table(shop.lake, name, release.tables[name]).uris()
    assert shop.read() == expected
    assert shop.build(full=True) is None


@pytest.mark.parametrize("name", ["silver.orders", "gold.revenue_daily", "rules.columns"])
def test_the_build_after_a_verification_writes_it_again(shop: Shop, name: str) -> None:
    """A file that is known to be damaged is built again although nothing was ingested since."""
    expected, file = shop.read(), file_of(shop.lake, name)
    assert shop.build() is None
    rot(file, bits=2)
    assert len(verify(shop.lake, ENGINE, now=datetime.now(UTC)).damages) == 1
    shop.publish()
    assert shop.read() == expected
    assert not [each for each in verify(shop.lake, ENGINE, now=datetime.now(UTC)).damages if each.is_current]
    assert shop.build() is None


def test_an_incremental_build_refuses_what_it_reads(shop: Shop) -> None:
    """Rows that it does not rebuild come from the release's files, and these are checked."""
    shop.observe("bronze.orders", MORE)
    rot(next(Path(uri) for uri in open_table(shop.lake, "silver.orders").uris() if "month=2026-06" in uri))
    with pytest.raises(TableDamaged, match=r"^silver\.orders: .*`just repair`$"):
        shop.build()
    assert shop.releases() == [1]


@pytest.mark.parametrize("name", ["silver.orders", "gold.revenue_daily", "bronze.expense_types"])
def test_a_session_refuses_a_damaged_file(shop: Shop, name: str) -> None:
    """No query shows a changed value of silver or gold; a file of bronze that can't be opened is one line."""
    file = file_of(shop.lake, name)
    if name.startswith("bronze."):
        file.write_bytes(file.read_bytes()[:-40] + bytes(40))
    else:
        rot(file)
    with pytest.raises(TableDamaged, match=f"^{name}: {file.name} .*`just repair`$"):
        shop.read()
