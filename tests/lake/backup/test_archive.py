"""Archive: the release of a month's end, without contacts, in self-contained Delta tables."""

import json
import multiprocessing
import random
import shutil
import signal
import subprocess
import sys
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from lake.backup.archive import (
    archive,
    archive_due,
    archive_lake,
    month_after,
    month_before,
    month_of,
    read_archive,
    release_at,
)
from lake.delta.tables import open_table
from lake.errors import LakeError, NoRelease, UsageError
from lake.paths import Lake
from lake.releases.release import RELEASES, Release, list_releases, publish
from tests.lake.backup.test_backup import DRILL, MONEY, bytes_in
from tests.lake.test_object_store import both
from tests.support.built_lake import FEW, Shop, ingested_shop
from tests.transform.test_crash import grow
from transform import __main__ as command

MARCH, APRIL = date(2026, 3, 1), date(2026, 4, 1)
NOW = datetime(2026, 5, 5, tzinfo=UTC)
PERSON = ("Оксана", "+380671112233", "oksana@example.com", "1990-01-02")
KILLS = 5
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["lake.backup.archive"])


@pytest.fixture(scope="module")
def first_released(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Return a shop that has a buyer with contacts, a release of 10 March and one of 10 April."""
    shop = ingested_shop(tmp_path_factory.mktemp("archived") / "lake", models=FEW)
    name, phone, email, birthday = PERSON
    shop.observe(
        "bronze.buyers",
        "id | full_name | phone | email | birthday | fetched_at\n"
        f'31 | {name} | ["{phone}"] | ["{email}"] | {birthday} | 2026-06-02 10:00',
    )
    shop.publish()
    grow(shop, 1)
    shop.publish()
    date_releases(shop.lake, datetime(2026, 3, 10, tzinfo=UTC), datetime(2026, 4, 10, tzinfo=UTC))
    return shop


@pytest.fixture
def few(first_released: Shop, tmp_path: Path) -> Shop:
    """Return a copy of the shop for one test."""
    return first_released.copy(tmp_path / "lake")


def date_releases(lake: Lake, *instants: datetime) -> None:
    """Rewrite the ledger as if the releases had been published at these instants."""
    oldest_first = reversed(list_releases(lake))
    shutil.rmtree(Path(lake.place) / "ops" / "releases")
    for release, at in zip(oldest_first, instants, strict=True):
        publish(lake, msgspec.structs.replace(release, published_at=at))


def rows_of(lake: Lake, release: Release) -> dict[str, list[dict[str, Any]]]:
    """Return the sorted rows of each table of the release."""
    return {
        name: sorted(open_table(lake, name, at).read().to_pylist(), key=str)
        for name, at in release.tables.items()
    }


def test_the_archive_is_the_release_current_at_the_months_end(few: Shop) -> None:
    """An archive has the rows of silver and gold without contacts, and a record of its tables."""
    record = archive(few.lake, MARCH, now=NOW)
    place = archive_lake(few.lake, MARCH)
    released = list_releases(few.lake)[-1]
    assert place.place == few.lake.place + "/archive/2026-03"
    assert record == read_archive(few.lake, MARCH)
    assert (record.release, record.published_at, record.consumed) == (1, released.published_at, {})
    assert set(record.tables) == {name for name in released.tables if name.startswith(("silver.", "gold."))}
    assert record.rows.items() <= released.rows.items()
    assert record.money == released.money
    ours = rows_of(few.lake, released)
    for name, rows in rows_of(place, record).items():
        columns = open_table(place, name).schema.names
        assert rows == sorted(({key: row[key] for key in columns} for row in ours[name]), key=str)
        assert open_table(place, name).version == record.tables[name] == 0
        assert open_table(place, name).partition_by == open_table(few.lake, name).partition_by
    assert archive(few.lake, APRIL, now=NOW).release == 2


def test_no_contact_is_in_an_archive(few: Shop) -> None:
    """A contact is neither in a column nor in the statistics of a log."""
    record = archive(few.lake, APRIL, now=NOW)
    place = archive_lake(few.lake, APRIL)
    columns = {name: set(open_table(place, name).schema.names) for name in record.tables}
    assert columns["silver.buyers"] == {"id", "created_date", "created_at", "updated_at", "month"}
    assert "buyer_name" not in columns["silver.orders"]
    assert "buyer_id" in columns["silver.orders"]
    assert "manager_name" in columns["silver.orders"]
    everything = str(rows_of(place, record)) + "".join(
        file.read_text("utf-8") for file in Path(place.place).rglob("*.json")
    )
    for secret in PERSON:
        assert secret not in everything
    assert "Оксана" in str(rows_of(few.lake, list_releases(few.lake)[0]))


def test_an_archive_is_read_without_this_code_and_without_the_lake(few: Shop, tmp_path: Path) -> None:
    """deltalake and duckdb alone read the rows and sums that the release recorded."""
    archive(few.lake, MARCH, now=NOW)
    place = tmp_path / "elsewhere"
    shutil.copytree(archive_lake(few.lake, MARCH).place, place)
    few.lake.remove()
    drill = subprocess.run(
        [sys.executable, "-I", "-c", DRILL, str(place), json.dumps(MONEY)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert drill.returncode == 0, drill.stderr
    assert drill.stdout.split()[0] == "1"


def test_the_folders_of_an_archive_are_synced(few: Shop, synced: set[str]) -> None:
    """The archive's record is no use after a power cut if the lake's folder does not name the archive."""
    archive(msgspec.structs.replace(few.lake, durable=True), MARCH, now=NOW)
    place = Path(few.lake.place)
    assert {
        str(path) for path in (place, place / "archive", place / "archive" / "2026-03" / "gold")
    } <= synced


def test_archiving_again_changes_nothing(few: Shop) -> None:
    """A finished archive is not changed, even if the files of its release are deleted from the lake."""
    record = archive(few.lake, MARCH, now=NOW)
    place = Path(archive_lake(few.lake, MARCH).place)
    before = {path: (place / path).stat().st_mtime_ns for path in bytes_in(place)}
    shutil.rmtree(Path(few.lake.place) / "silver")
    assert archive(few.lake, MARCH, now=NOW) == record
    assert {path: (place / path).stat().st_mtime_ns for path in bytes_in(place)} == before


def test_two_concurrent_archivals_make_one_archive(few: Shop, tmp_path: Path) -> None:
    """If `just archive` and the first transform of a month run concurrently, both return the same record."""
    for number in range(4):
        lake = few.copy(tmp_path / f"lake{number}").lake
        results = both(partial(archive, lake, MARCH, now=NOW))
        record = read_archive(lake, MARCH)
        assert record
        assert results == [record, record]
        assert set(record.tables.values()) == {0}
        tables = [open_table(archive_lake(lake, MARCH), name) for name in record.tables]
        assert {table.version for table in tables} == {0}
        assert {table.name: table.read([]).num_rows for table in tables} == record.rows


def test_a_month_that_can_not_be_archived_has_a_clear_message(few: Shop) -> None:
    """A month is refused if it has not ended, has no release, lacks files, or is not a month."""
    with pytest.raises(UsageError, match="2026-05 has not ended; the last month to archive is 2026-04"):
        archive(few.lake, date(2026, 5, 1), now=NOW)
    with pytest.raises(NoRelease, match="nothing was published by its end"):
        archive(few.lake, date(2026, 2, 1), now=NOW)
    shutil.rmtree(Path(few.lake.place) / "gold" / "revenue_daily")
    with pytest.raises(LakeError, match=r"gold\.revenue_daily"):
        archive(few.lake, MARCH, now=NOW)
    assert read_archive(few.lake, MARCH) is None
    for text in ("2026-13", "2026-3", "March"):
        with pytest.raises(UsageError, match="YYYY-MM"):
            month_of(text)
    assert month_of("2026-03") == MARCH


def test_the_first_publish_of_a_month_archives_what_is_due(few: Shop) -> None:
    """Every ended month since the newest archive is archived once, the oldest first."""
    assert archive_due(few.lake, datetime(2026, 3, 31, 20, 59, tzinfo=UTC)) == []
    assert archive_due(few.lake, datetime(2026, 3, 31, 21, 0, tzinfo=UTC)) == [MARCH]
    assert archive_due(few.lake, datetime(2026, 4, 20, tzinfo=UTC)) == []
    assert archive_due(few.lake, datetime(2026, 6, 2, tzinfo=UTC)) == [APRIL, date(2026, 5, 1)]
    assert archive_due(few.lake, datetime(2026, 6, 2, tzinfo=UTC)) == []
    assert [read_archive(few.lake, month) is not None for month in (MARCH, APRIL)] == [True, True]
    assert archive_due(Lake(root=few.lake.place + "/none"), NOW) == []


def test_a_month_that_is_lost_does_not_stop_the_others(few: Shop) -> None:
    """If the files of a month's release are missing, the other months are archived."""
    at = list_releases(few.lake)[-1].tables["silver.buyers"]
    (file,) = open_table(few.lake, "silver.buyers", at).files()
    Path(file.uri).unlink()
    assert archive_due(few.lake, NOW) == [APRIL]


def test_a_month_ends_at_midnight_in_kyiv(lake: Lake) -> None:
    """A month ends three hours before UTC's in summer, two in winter; a release then is the next month's."""
    assert month_after(MARCH) == datetime(2026, 3, 31, 21, tzinfo=UTC)
    assert month_after(date(2026, 1, 1)) == datetime(2026, 1, 31, 22, tzinfo=UTC)
    assert month_after(date(2026, 12, 1)) == datetime(2026, 12, 31, 22, tzinfo=UTC)
    assert month_before(datetime(2025, 12, 31, 22, tzinfo=UTC)) == date(2025, 12, 1)
    assert month_before(datetime(2025, 12, 31, 21, 59, tzinfo=UTC)) == date(2025, 11, 1)
    for number, hour in ((1, 20), (2, 21)):
        release = Release(
            release=number,
            published_at=datetime(2026, 3, 31, hour, tzinfo=UTC),
            kind="sync",
            parent=number - 1 or None,
            tables={},
            consumed={},
        )
        publish(lake, release)
    releases = release_at(lake, MARCH), release_at(lake, APRIL), release_at(lake, date(2026, 2, 1))
    assert [release and release.release for release in releases] == [1, 2, None]


def test_a_killed_archive_is_unfinished_and_is_continued(few: Shop, tmp_path: Path) -> None:
    """An archive exists only after its record is written; a complete table is not written again."""
    chance = random.Random(5)
    whole = few.copy(tmp_path / "whole").lake
    record = archive(whole, MARCH, now=NOW)
    expected = rows_of(archive_lake(whole, MARCH), record)
    names = [*record.tables, RELEASES]
    killed = 0
    for number in range(KILLS):
        lake = few.copy(tmp_path / f"lake{number}").lake
        place = archive_lake(lake, MARCH)
        awaited = Path(place.uri(chance.choice(names))) / "_delta_log" / f"{0:020}.json"
        child = CHILDREN.Process(target=archive, args=(lake, MARCH), kwargs={"now": NOW})
        child.start()
        while not awaited.exists() and child.is_alive():
            pass
        child.kill()
        child.join()
        killed += child.exitcode == -signal.SIGKILL
        if (finished := read_archive(lake, MARCH)) is not None:
            assert rows_of(place, finished) == expected
        assert archive(lake, MARCH, now=NOW) == record
        assert rows_of(place, record) == expected
        assert {name: open_table(place, name).version for name in record.tables} == record.tables
    assert killed > KILLS / 3


def test_the_first_publish_of_a_month_archives_the_one_before(
    few: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transform command archives the last month after its publish, without a command of its own."""
    grow(few, 2)
    monkeypatch.setenv("KEYLAKE_LAKE_ROOT", few.lake.root)
    monkeypatch.setattr(command, "refuse_partial_history", lambda _: None)
    monkeypatch.setattr(command, "build_with_retries", lambda *_, **__: few.publish())
    assert CliRunner().invoke(command.transform, [], catch_exceptions=False).exit_code == 0
    record = read_archive(few.lake, month_before(datetime.now(UTC)))
    assert record is not None
    assert record.release == 2
    assert list_releases(few.lake)[0].release == 3
