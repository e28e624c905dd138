"""Catalogue: any DuckDB opens the current release during publishes, after moves and after kills."""

import os
import shutil
import threading
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import msgspec
import pytest

from lake.errors import CommitConflict
from lake.paths import Lake
from lake.query.catalogue import catalogue_release, publish, refresh_catalogue, write_catalogue
from lake.releases.release import Release, current_release, find_release
from lake.releases.release import publish as publish_release
from tests.support.built_lake import FEW, Shop
from tests.support.built_lake import ingested_shop as opened_shop

TOTAL = "select sum(revenue) from gold.revenue_daily"


@pytest.fixture(scope="module")
def first_release(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop with one release, which no test changes."""
    shop = opened_shop(tmp_path_factory.mktemp("catalogued") / "lake", models=FEW)
    shop.publish()
    return shop


@pytest.fixture
def few(first_release: Shop, tmp_path: Path) -> Shop:
    """A shop with one release, for one test."""
    return first_release.copy(tmp_path / "lake")


def opened(lake: Lake, *before: str) -> duckdb.DuckDBPyConnection:
    """Open the catalogue as an analyst does, with DuckDB alone."""
    assert lake.catalogue
    connection = duckdb.connect(str(lake.catalogue), read_only=True)
    for statement in before:
        connection.execute(statement)
    return connection


def again(lake: Lake, **more: object) -> Release:
    """Return a release that follows the current one and shows the same tables."""
    newest = find_release(lake, None)
    return msgspec.structs.replace(
        newest, release=newest.release + 1, parent=newest.release, published_at=datetime.now(UTC), **more
    )


def one(connection: duckdb.DuckDBPyConnection, query: str) -> object:
    """Return a query's only value."""
    ((value,),) = connection.execute(query).fetchall()
    return value


def test_every_table_of_the_release_is_a_view(few: Shop) -> None:
    """The views have the release's rows and money, and the ledgers are there too."""
    release = find_release(few.lake, None)
    write_catalogue(few.lake, release)
    with opened(few.lake) as connection:
        for name, rows in release.rows.items():
            assert one(connection, f"select count(*) from {name}") == rows
        for name in release.consumed:
            connection.execute(f"from {name} limit 1")
        assert one(connection, TOTAL) == release.money["gold.revenue_daily"] > 0
        assert one(connection, "select release from ops.current_release") == 1
        assert one(connection, "select max(release) from ops.releases") == 1
        with pytest.raises(duckdb.InvalidInputException, match="read-only"):
            connection.execute("create table gold.more (id int)")


def test_an_open_catalogue_keeps_its_release_after_a_publish(few: Shop) -> None:
    """A reader that has the file open keeps one release, while the next reader gets the new one."""
    write_catalogue(few.lake, find_release(few.lake, None))
    assert few.lake.catalogue
    # A hard link preserves the present file, as an open handle does.
    old = few.lake.catalogue.with_name("kept.duckdb")
    os.link(few.lake.catalogue, old)
    publish(few.lake, again(few.lake))
    assert catalogue_release(few.lake) == 2
    with duckdb.connect(str(old), read_only=True) as connection:
        assert one(connection, "select release from ops.current_release") == 1
        assert one(connection, TOTAL) == find_release(few.lake, 1).money["gold.revenue_daily"]
    old.unlink()
    assert not list(Path(few.lake.place).glob("lake.duckdb?*"))


def test_a_moved_lake_is_read_by_naming_its_new_path(few: Shop, tmp_path: Path) -> None:
    """The views use the lake's old path unless the reader sets the root; a publish writes the new path."""
    write_catalogue(few.lake, find_release(few.lake, None))
    moved = Lake(root=str(tmp_path / "it's 50% moved"))
    Path(few.lake.place).rename(moved.place)
    with opened(moved) as connection, pytest.raises(duckdb.IOException, match="No files found"):
        connection.execute(TOTAL)
    place = moved.place.replace("'", "''")
    with opened(moved, f"set variable keylake_root = '{place}'") as connection:
        assert one(connection, TOTAL) == Decimal("1100.00")
    publish(moved, again(moved))
    with opened(moved) as connection:
        assert one(connection, TOTAL) == Decimal("1100.00")


def test_files_of_a_killed_writer_are_deleted(few: Shop) -> None:
    """The next refresh deletes them and serves the release that was published without a catalogue."""
    assert few.lake.catalogue
    assert catalogue_release(few.lake) is None
    assert refresh_catalogue(few.lake)
    publish_release(few.lake, again(few.lake))
    made = few.lake.catalogue.with_name("lake.duckdb.new")
    for left in (made, made.with_name("lake.duckdb.new.wal")):
        left.write_bytes(b"half a database")
    assert catalogue_release(few.lake) == 1
    assert refresh_catalogue(few.lake)
    assert catalogue_release(few.lake) == 2
    assert not refresh_catalogue(few.lake)
    assert not list(Path(few.lake.place).glob("lake.duckdb?*"))


def test_a_damaged_catalogue_is_written_again(few: Shop) -> None:
    """The catalogue has no content that the lake has not."""
    assert few.lake.catalogue
    few.lake.catalogue.write_bytes(b"not a database")
    assert catalogue_release(few.lake) is None
    assert refresh_catalogue(few.lake)
    assert catalogue_release(few.lake) == 1


def test_damage_in_the_middle_of_a_catalogue_stops_no_publish(few: Shop) -> None:
    """If the old views can't be reused, all views are written again."""
    assert few.lake.catalogue
    write_catalogue(few.lake, find_release(few.lake, None))
    content = bytearray(few.lake.catalogue.read_bytes())
    content[len(content) // 2 :] = b"x" * (len(content) - len(content) // 2)
    few.lake.catalogue.write_bytes(content)
    publish(few.lake, again(few.lake))
    with opened(few.lake) as connection:
        assert one(connection, TOTAL) == Decimal("1100.00")


def test_a_table_that_the_release_lacks_has_no_view(few: Shop) -> None:
    """A publish drops the view of a removed table and keeps the other views."""
    publish(few.lake, again(few.lake))
    release = again(few.lake)
    del release.tables["gold.source_daily"]
    publish(few.lake, release)
    with opened(few.lake) as connection:
        assert one(connection, "select count(*) from duckdb_views() where view_name = 'source_daily'") == 0
        assert one(connection, TOTAL) == Decimal("1100.00")


def test_a_catalogue_of_another_lake_is_not_reused(few: Shop, tmp_path: Path) -> None:
    """After the lake was built again, releases have the same numbers but other files."""
    assert few.lake.catalogue
    write_catalogue(few.lake, find_release(few.lake, None))
    publish(few.lake, again(few.lake))
    old = few.lake.catalogue.read_bytes()
    for layer in ("rules", "silver", "gold", "ops"):
        shutil.rmtree(Path(few.lake.place) / layer)
    few.publish()
    few.lake.catalogue.write_bytes(old)
    assert catalogue_release(few.lake) is None
    assert refresh_catalogue(few.lake)
    publish(few.lake, again(few.lake))
    few.lake.catalogue.write_bytes(old)
    assert catalogue_release(few.lake) is None
    assert refresh_catalogue(few.lake)
    with opened(few.lake) as connection:
        assert one(connection, TOTAL) == Decimal("1100.00")


def test_concurrent_writers_leave_the_newest_release(few: Shop) -> None:
    """The catalogue serves the newest release even if the last writer was given an older one."""
    first = find_release(few.lake, None)
    second = again(few.lake)
    publish_release(few.lake, second)
    threads = [
        threading.Thread(target=write_catalogue, args=(few.lake, release)) for release in (second, first)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert catalogue_release(few.lake) == 2


def test_a_refused_publish_leaves_the_catalogue_alone(few: Shop) -> None:
    """A catalogue that can't be written does not undo a publish, either."""
    release = find_release(few.lake, None)
    write_catalogue(few.lake, release)
    with pytest.raises(CommitConflict):
        publish(few.lake, release)
    assert catalogue_release(few.lake) == 1
    assert few.lake.catalogue
    few.lake.catalogue.with_name("lake.duckdb.new").mkdir()
    publish(few.lake, again(few.lake))
    newest = current_release(few.lake)
    assert newest
    assert (newest.release, catalogue_release(few.lake)) == (2, 1)


def test_removing_a_lake_removes_its_catalogue(few: Shop) -> None:
    """The catalogue does not outlive its lake."""
    write_catalogue(few.lake, find_release(few.lake, None))
    few.lake.remove()
    assert not Path(few.lake.place).exists()
