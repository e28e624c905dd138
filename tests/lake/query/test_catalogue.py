"""Catalogue: any DuckDB opens the current release, whatever is published, moved or killed meanwhile."""

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
from lake.query.catalogue import publish, refresh_catalogue, shown_release, write_catalogue
from lake.releases.release import Release, current_release, find_release
from lake.releases.release import publish as publish_release
from tests.support.built_lake import FEW, Shop
from tests.support.built_lake import opened as opened_shop

TOTAL = "select sum(revenue) from gold.revenue_daily"


@pytest.fixture(scope="module")
def first_release(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop with one release; nobody changes it."""
    shop = opened_shop(tmp_path_factory.mktemp("catalogued") / "lake", models=FEW)
    shop.published()
    return shop


@pytest.fixture
def few(first_release: Shop, tmp_path: Path) -> Shop:
    """A shop with one release, for one test."""
    return first_release.copy(tmp_path / "lake")


def opened(lake: Lake, *before: str) -> duckdb.DuckDBPyConnection:
    """Open the catalogue as an analyst does, with nothing of this project."""
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
    ((found,),) = connection.execute(query).fetchall()
    return found


def test_every_table_of_the_release_is_a_view(few: Shop) -> None:
    """With the release's own rows and money, and the ledgers."""
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


def test_publishing_replaces_it_and_who_has_it_open_keeps_it(few: Shop) -> None:
    """One moment for the reader, whatever comes after it."""
    write_catalogue(few.lake, find_release(few.lake, None))
    assert few.lake.catalogue
    # A hard link keeps the file of this moment, as an open handle does.
    kept = few.lake.catalogue.with_name("kept.duckdb")
    os.link(few.lake.catalogue, kept)
    publish(few.lake, again(few.lake))
    assert shown_release(few.lake) == 2
    with duckdb.connect(str(kept), read_only=True) as connection:
        assert one(connection, "select release from ops.current_release") == 1
        assert one(connection, TOTAL) == find_release(few.lake, 1).money["gold.revenue_daily"]
    kept.unlink()
    assert not list(Path(few.lake.place).glob("lake.duckdb?*"))


def test_a_moved_lake_is_read_by_naming_its_new_place(few: Shop, tmp_path: Path) -> None:
    """Files are named by absolute paths unless the reader says another root; a publish writes the new one."""
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


def test_what_a_killed_writer_left_is_cleared_away(few: Shop) -> None:
    """A release published without its catalogue is shown by the next refresh."""
    assert few.lake.catalogue
    assert shown_release(few.lake) is None
    assert refresh_catalogue(few.lake)
    publish_release(few.lake, again(few.lake))
    made = few.lake.catalogue.with_name("lake.duckdb.new")
    for left in (made, made.with_name("lake.duckdb.new.wal")):
        left.write_bytes(b"half a database")
    assert shown_release(few.lake) == 1
    assert refresh_catalogue(few.lake)
    assert shown_release(few.lake) == 2
    assert not refresh_catalogue(few.lake)
    assert not list(Path(few.lake.place).glob("lake.duckdb?*"))


def test_a_damaged_catalogue_is_written_anew(few: Shop) -> None:
    """It holds nothing that is not in the lake."""
    assert few.lake.catalogue
    few.lake.catalogue.write_bytes(b"not a database")
    assert shown_release(few.lake) is None
    assert refresh_catalogue(few.lake)
    assert shown_release(few.lake) == 1


def test_damage_that_shows_only_in_its_middle_is_no_obstacle(few: Shop) -> None:
    """What can't be written on is written anew."""
    assert few.lake.catalogue
    write_catalogue(few.lake, find_release(few.lake, None))
    content = bytearray(few.lake.catalogue.read_bytes())
    content[len(content) // 2 :] = b"x" * (len(content) - len(content) // 2)
    few.lake.catalogue.write_bytes(content)
    publish(few.lake, again(few.lake))
    with opened(few.lake) as connection:
        assert one(connection, TOTAL) == Decimal("1100.00")


def test_a_table_that_the_release_has_no_more_is_no_view(few: Shop) -> None:
    """The others stay as they are."""
    publish(few.lake, again(few.lake))
    release = again(few.lake)
    del release.tables["gold.source_daily"]
    publish(few.lake, release)
    with opened(few.lake) as connection:
        assert one(connection, "select count(*) from duckdb_views() where view_name = 'source_daily'") == 0
        assert one(connection, TOTAL) == Decimal("1100.00")


def test_a_catalogue_of_another_lake_in_this_place_is_no_start(few: Shop, tmp_path: Path) -> None:
    """The lake was made anew beside it: the numbers are the same, the files are not."""
    assert few.lake.catalogue
    write_catalogue(few.lake, find_release(few.lake, None))
    publish(few.lake, again(few.lake))
    old = few.lake.catalogue.read_bytes()
    for layer in ("rules", "silver", "gold", "ops"):
        shutil.rmtree(Path(few.lake.place) / layer)
    few.published()
    few.lake.catalogue.write_bytes(old)
    assert shown_release(few.lake) is None
    assert refresh_catalogue(few.lake)
    publish(few.lake, again(few.lake))
    few.lake.catalogue.write_bytes(old)
    assert shown_release(few.lake) is None
    assert refresh_catalogue(few.lake)
    with opened(few.lake) as connection:
        assert one(connection, TOTAL) == Decimal("1100.00")


def test_the_later_of_two_writers_shows_the_newest_release(few: Shop) -> None:
    """Also when it comes with an older one."""
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
    assert shown_release(few.lake) == 2


def test_a_refused_publish_leaves_it_alone(few: Shop) -> None:
    """And one that can't be written does not undo a publish."""
    release = find_release(few.lake, None)
    write_catalogue(few.lake, release)
    with pytest.raises(CommitConflict):
        publish(few.lake, release)
    assert shown_release(few.lake) == 1
    assert few.lake.catalogue
    few.lake.catalogue.with_name("lake.duckdb.new").mkdir()
    publish(few.lake, again(few.lake))
    newest = current_release(few.lake)
    assert newest
    assert (newest.release, shown_release(few.lake)) == (2, 1)


def test_removing_a_lake_removes_its_catalogue(few: Shop) -> None:
    """Nothing is left that shows what is gone."""
    write_catalogue(few.lake, find_release(few.lake, None))
    few.lake.remove()
    assert not Path(few.lake.place).exists()
