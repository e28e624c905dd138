"""A served release can reach nothing else, and it closes when its last user ends."""

import gc
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import msgspec
import pytest
from structlog.testing import capture_logs

from lake.delta.tables import open_table
from lake.ledgers.jobs import JOBS, failed_jobs
from lake.paths import Lake
from lake.releases.release import COMPACTION, RESUME, ROLLBACK
from lake.settings import LakeSettings
from serve.errors import NothingThere, NotReady, TooSlow
from serve.reader import Reader
from serve.served_release import ServedRelease, open_served_release
from serve.settings import ServeSettings
from serve.slots import SlotClaims
from tests.serve.conftest import tree
from tests.serve.shop import fail_job, make_tables, publish_gold, publish_versions, record_run

SMALL = 12
NOW = datetime(2026, 3, 30, 12, tzinfo=UTC)


@pytest.fixture
def served(lake: Lake, engine: LakeSettings) -> Iterator[ServedRelease]:
    """Open a release."""
    release = publish_gold(lake, make_tables(days=SMALL))
    opened = open_served_release(lake, engine, ServeSettings(), release)
    yield opened
    opened.retire()


@pytest.fixture
def reader(lake: Lake, engine: LakeSettings) -> Iterator[Reader]:
    """A reader that refreshes only when the test calls it."""
    made = Reader(lake, engine, ServeSettings(open_releases=2))
    yield made
    made.close()


@pytest.mark.parametrize(
    "statement",
    [
        "copy gold.revenue_daily to '{folder}/out.csv'",
        "copy gold.revenue_daily to '{folder}/out.parquet' (format parquet)",
        "export database '{folder}/out'",
        "select * from read_csv('{folder}/secret.csv')",
        "select * from read_text('{folder}/secret.csv')",
        "select * from read_blob('{folder}/secret.csv')",
        "select * from '{folder}/secret.csv'",
        "select * from glob('{folder}/*')",
        "attach '{folder}/other.duckdb'",
        "attach ':memory:' as other",
        "install httpfs",
        "load httpfs",
        "set memory_limit = '8GB'",
        "set enable_external_access = true",
        "set timezone = 'Asia/Tokyo'",
        "reset lock_configuration",
        "create secret (type s3)",
        "create table gold.mine as select 1",
        "insert into gold.revenue_daily select * from gold.revenue_daily",
        "update gold.revenue_daily set revenue = 0",
        "delete from gold.revenue_daily",
        "drop table gold.revenue_daily",
        "select getenv('HOME')",
        "select * from silver.orders",
    ],
)
def test_nothing_else_is_reached(served: ServedRelease, tmp_path: Path, statement: str) -> None:
    """A statement reaches no file, setting, extension or other database, and changes nothing."""
    (tmp_path / "secret.csv").write_text("a\n1\n")
    before = tree(tmp_path)
    with pytest.raises(duckdb.Error):
        served.rows(statement.format(folder=tmp_path))
    assert tree(tmp_path) == before


def test_its_own_file_can_not_be_written_over(served: ServedRelease) -> None:
    """DuckDB allows writes to the database's own paths, but their folder is deleted."""
    [database] = served.rows("select path from duckdb_databases() where not internal")
    with pytest.raises(duckdb.Error):
        served.rows(f"copy gold.revenue_daily to '{database['path']}.wal'")
    assert not Path(database["path"]).parent.exists()


def test_slow_query_is_stopped(lake: Lake, engine: LakeSettings) -> None:
    """The time limit stops the query; the release stays open."""
    release = publish_gold(lake, make_tables(days=SMALL))
    opened = open_served_release(lake, engine, ServeSettings(query_seconds=0.2), release)
    with pytest.raises(TooSlow, match=r"longer than 0\.2 s"):
        opened.rows("select count(*) from range(10000000) a, range(10000000) b where a.range + b.range = 7")
    assert opened.rows("select 1 as one") == [{"one": 1}]
    opened.retire()


def test_retired_release_closes_with_its_last_user(served: ServedRelease) -> None:
    """A retired release serves its user until the end; then it is closed and can't be acquired."""
    assert served.acquire()
    served.retire()
    assert served.rows("select count(*) as found from gold.revenue_daily")
    served.drop()
    assert not served.acquire()
    with pytest.raises(duckdb.Error):
        served.rows("select 1")


def test_nothing_published_yet(reader: Reader) -> None:
    """An empty lake is no error; opening a release raises NotReady with the command to run."""
    assert not reader.refresh()
    with pytest.raises(NotReady, match="just sync"), reader.open():
        pass


def test_newer_release_is_swapped_in(reader: Reader, lake: Lake) -> None:
    """A user of the old release keeps reading it; the next user gets the new one."""
    publish_gold(lake, make_tables(1, days=SMALL))
    assert reader.refresh()
    assert not reader.refresh()
    with reader.open() as old:
        publish_gold(lake, make_tables(2, days=SMALL))
        assert reader.refresh()
        with reader.open() as new:
            assert (old.number, new.number) == (1, 2)
            query = "select sum(revenue) as total from gold.revenue_daily"
            assert old.rows(query) != new.rows(query)


def test_only_a_few_releases_stay_open(reader: Reader, lake: Lake) -> None:
    """The least recently used release is closed and its space freed; it opens again on request."""
    for seed in range(1, 6):
        publish_gold(lake, make_tables(seed, days=SMALL))
        reader.refresh()
    for number in (1, 2, 3, 4, 5, 1):
        with reader.open(number) as served:
            assert served.number == number
    gc.collect()
    files = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert sum("keylake-serve-" in name for name in files) <= 2
    with pytest.raises(NothingThere, match="newest is 5"), reader.open(6):
        pass


def test_release_that_can_not_be_opened_leaves_the_old_one(reader: Reader, lake: Lake) -> None:
    """The reader reports the reason until the next release that can be opened."""
    release = publish_gold(lake, make_tables(days=SMALL))
    reader.refresh()
    publish_versions(lake, {"gold.revenue_daily": 99})
    assert not reader.refresh()
    assert reader.number() == 1
    assert reader.problem
    assert "release 2 can't be opened" in reader.problem
    assert lake.root not in reader.problem
    with pytest.raises(NothingThere, match="newest is 1"), reader.open(2):
        pass
    publish_versions(lake, release.tables)
    assert reader.refresh()
    assert (reader.number(), str(reader.problem)) == (3, "None")


def test_failed_job_is_reported_until_it_succeeds(reader: Reader, lake: Lake) -> None:
    """A failure is reported even before the first release. A new release clears only that of the sync."""
    at = datetime.now(UTC) - timedelta(minutes=5)
    fail_job(lake, at=at)
    reader.refresh()
    failure = f"sync failed at {at:%Y-%m-%d %H:%M} UTC (exit 3): transform: no total falls"
    with pytest.raises(NotReady, match=re.escape(failure)):
        reader.number()
    fail_job(lake, "compare")
    publish_gold(lake, make_tables(days=SMALL))
    reader.refresh()
    reader.refresh()
    assert [entry.job for entry in reader.failed_jobs] == ["compare"]
    fail_job(lake)
    reader.refresh()
    assert [entry.job for entry in reader.failed_jobs] == ["compare", "sync"]
    for job in ("compare", "sync"):
        SlotClaims(lake, holder="test").close(job, NOW, now=datetime.now(UTC), exit_code=0, detail="")
    reader.refresh()
    assert (reader.failed_jobs, reader.problem) == ((), None)


def test_failure_of_a_removed_job_expires(reader: Reader, lake: Lake) -> None:
    """A failure expires after eight days without a new row, or if the lake is deleted."""
    fail_job(lake, "compare", at=datetime.now(UTC) - timedelta(days=9))
    fail_job(lake, "sweep", at=datetime.now(UTC) - timedelta(days=7))
    reader.refresh()
    assert [entry.job for entry in reader.failed_jobs] == ["sweep"]
    lake.remove()
    reader.refresh()
    assert reader.failed_jobs == ()


def test_unreadable_ledger_of_jobs_does_not_affect_releases(reader: Reader, lake: Lake) -> None:
    """The newest release serves, and the error is logged once."""
    publish_gold(lake, make_tables(days=SMALL))
    fail_job(lake)
    [file] = open_table(lake, JOBS).uris()
    Path(file).unlink()
    with capture_logs() as logs:
        for _ in range(3):
            reader.refresh()
    assert (reader.number(), reader.is_behind, reader.failed_jobs) == (1, False, ())
    assert [line["event"] for line in logs].count("serve.jobs_not_read") == 1


def test_release_without_new_data_does_not_clear_a_failed_sync(lake: Lake) -> None:
    """A compaction, a rollback or a resume does not clear the failure of a sync."""
    release = publish_gold(lake, make_tables(days=SMALL))
    fail_job(lake, at=release.published_at - timedelta(minutes=1))
    kinds = ("sync", "full", "rules", "resync", COMPACTION, ROLLBACK, RESUME)
    failures = {
        kind: failed_jobs(lake, msgspec.structs.replace(release, kind=kind), now=datetime.now(UTC))
        for kind in kinds
    }
    assert {kind for kind in kinds if failures[kind]} == {COMPACTION, ROLLBACK, RESUME}


def test_last_run_is_read_when_it_changes(reader: Reader, lake: Lake) -> None:
    """After an incomplete run, the reader still has the last complete one."""
    record_run(lake)
    reader.refresh()
    record_run(lake, verdict="incomplete", reason="page 3 failed")
    reader.refresh()
    assert reader.last_run
    assert reader.last_complete
    assert (reader.last_run.verdict, reader.last_complete.verdict) == ("incomplete", "complete")
