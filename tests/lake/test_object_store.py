"""Object store: the same code reads and writes a lake on this disk and in an object store."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ingest.schemas import SCHEMAS
from lake.delta.contract import Contract
from lake.delta.files import Files
from lake.delta.tables import create_table, list_tables, open_table, table_exists
from lake.delta.writer import stage
from lake.errors import CommitConflict, LakeError, TableMissing
from lake.history.diff import day_moves
from lake.history.rollback import run_resume, run_rollback
from lake.ledgers.status import read_status
from lake.maintenance.compaction import compact
from lake.maintenance.vacuum import maintain, sizes, vacuum
from lake.paths import Lake
from lake.query.catalogue import refresh_catalogue, write_catalogue
from lake.query.object_store import Mount, RangeReader
from lake.query.session import connect, create_view, fetch, open_session, scan
from lake.releases.asof import resolve
from lake.releases.release import Release, current_release, find_release, list_releases, publish
from lake.releases.tags import write_tag
from lake.settings import LakeSettings
from tests.support.built_lake import FEW, HISTORY, Shop, instant

SCHEMA = Contract.of({"id": "BIGINT", "amount": "DECIMAL(18,2)?", "month": "DATE"}).schema
LOOK = Contract.of({"id": "BIGINT", "observed_on": "DATE"}).schema
# A maintenance at LATER treats everything that a test has written as old.
NOW = datetime.now(UTC)
LATER = NOW + timedelta(days=200)
JUNE, JULY = date(2026, 6, 1), date(2026, 7, 1)


@pytest.fixture
def lake(any_lake: Lake) -> Lake:
    """Return an empty lake, one for each kind of place."""
    return any_lake


def rows(*values: tuple[int, str, date]) -> pa.Table:
    """Return rows of the test's table."""
    items = [{"id": key, "amount": Decimal(amount), "month": month} for key, amount, month in values]
    return pa.Table.from_pylist(items, schema=SCHEMA)


def release_of(number: int, **tables: int) -> Release:
    """Return a release with versions of silver tables, whose parent is the release before it."""
    return Release(
        release=number,
        published_at=datetime(2026, 6, number, 12, tzinfo=UTC),
        kind="sync",
        parent=number - 1 or None,
        tables={f"silver.{name}": at for name, at in tables.items()},
        consumed={},
    )


def both(action: Callable[[], object]) -> list[object]:
    """Run the action in two threads concurrently; return the result or the LakeError of each."""
    start = threading.Barrier(2, timeout=300)
    results: list[object] = []

    def run() -> None:
        start.wait()
        try:
            results.append(action())
        except LakeError as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_append_replace_and_read_a_version(lake: Lake) -> None:
    """Rows, statistics, files and older versions are the same everywhere."""
    table = create_table(lake, "silver.things", SCHEMA, partition_by=["month"])
    assert table.maximum("id") is None
    before = table.append(rows((1, "1.50", JUNE), (2, "2.50", JULY)))
    table.replace(rows((3, "3.00", JUNE)), [JUNE])
    assert sorted(open_table(lake, "silver.things").read(["id"])["id"].to_pylist()) == [2, 3]
    assert sorted(open_table(lake, "silver.things", before).read(["id"])["id"].to_pylist()) == [1, 2]
    assert table.maximum("id") == 3
    assert all(file.uri.startswith(f"{lake.place}/silver/things/month=") for file in table.files())
    with pytest.raises(TableMissing, match=r"silver\.none"):
        open_table(lake, "silver.none")


def test_duckdb_reads_the_files_of_a_version(lake: Lake, engine: LakeSettings) -> None:
    """DuckDB reads partition columns and applies filters, over all, some or none of the files."""
    table = create_table(lake, "silver.things", SCHEMA, partition_by=["month"])
    connection = connect(engine)
    assert fetch(connection, scan(connection, table)).schema.names == SCHEMA.names
    table.append(rows(*((key, f"{key}.25", JUNE if key % 2 else JULY) for key in range(4000))))
    connection.execute("create schema silver")
    create_view(connection, "silver.things", table)
    query = (
        "select month, count(*), sum(amount) from silver.things where id >= 1000 group by all order by all"
    )
    expected = [
        (JUNE, 1500, Decimal("3750375.00")),
        (JULY, 1500, Decimal("3748875.00")),
    ]
    assert connection.execute(query).fetchall() == expected
    june = [file.uri for file in table.files() if "2026-06" in file.uri]
    assert connection.execute(f"select count(*) from ({scan(connection, table, june)})").fetchone() == (2000,)
    connection.close()


def test_many_threads_read_the_same(lake: Lake, tmp_path: Path) -> None:
    """Concurrent reads of different parts of a file return these parts."""
    table = create_table(lake, "silver.things", SCHEMA)
    for part in range(6):
        table.append(rows(*((part * 20000 + key, f"{key}.25", JUNE) for key in range(20000))))
    connection = connect(LakeSettings(memory_limit="512MB", threads=4, spill=str(tmp_path)))
    query = f"select count(*), sum(id), sum(amount) from ({scan(connection, table)})"
    answers = {connection.execute(query).fetchone() for _ in range(5)}
    assert answers == {(120000, 7199940000, Decimal("1199970000.00"))}
    connection.close()


def test_releases_are_published_and_read_as_of(lake: Lake, engine: LakeSettings) -> None:
    """A session over release 1 still reads the same after release 2 is published."""
    table = create_table(lake, "silver.things", SCHEMA)
    publish(lake, release_of(1, things=table.append(rows((1, "1", JUNE)))))
    first = open_session(lake, engine, find_release(lake, None))
    publish(lake, release_of(2, things=table.replace(rows((2, "2", JUNE)))))
    newest = current_release(lake)
    assert newest == release_of(2, things=2)
    assert [release.release for release in list_releases(lake)] == [2, 1]
    for session, number in ((first, 1), (open_session(lake, engine, newest), 2)):
        assert session.execute("select id from silver.things").fetchall() == [(number,)]
        assert session.execute("select release from ops.current_release").fetchall() == [(number,)]
        session.close()


def test_a_release_is_found_as_of_a_time_and_rolled_back_to(lake: Lake, engine: LakeSettings) -> None:
    """A release is found by day, tag and number; rollback, resume and the comparison of days work."""
    table = create_table(lake, "silver.things", SCHEMA, partition_by=["month"])
    for number, amount in ((1, "1"), (2, "2.50")):
        publish(lake, release_of(number, things=table.replace(rows((7, amount, JUNE)))))
    first = resolve(lake, "2026-06-01")
    assert (first.release, resolve(lake, "2026-06-02T12:00Z").release) == (1, 2)
    write_tag(lake, first, "audit", now=NOW)
    assert resolve(lake, "audit") == resolve(lake, "1") == first
    [move] = day_moves(lake, engine, first, find_release(lake, 2))
    assert (move.rows_gone, move.rows_new) == (1, 1)
    current = find_release(lake, None)
    rollback = run_rollback(lake, first, current=current, now=NOW, settings=LakeSettings(keep_days=999))
    with open_session(lake, engine, rollback) as session:
        assert session.execute("select amount from silver.things").fetchall() == [(Decimal("1.00"),)]
    assert run_resume(lake, now=NOW)
    assert [release.kind for release in list_releases(lake)] == ["resume", "rollback", "sync", "sync"]


def test_compaction_and_vacuum_keep_the_files_of_a_release(lake: Lake, engine: LakeSettings) -> None:
    """Small files are compacted, unneeded files are deleted, and open and new sessions read the same."""
    looks = create_table(lake, "bronze.looks", LOOK, partition_by=["observed_on"])
    for number in range(6):
        looks.append(pa.Table.from_pylist([{"id": number, "observed_on": JUNE}], schema=LOOK))
    table = create_table(lake, "silver.things", SCHEMA, partition_by=["month"])
    for number in (1, 2, 3):
        at = table.replace(rows((number, "1", JUNE)))
        release = release_of(number, things=at)
        publish(lake, msgspec.structs.replace(release, consumed={"bronze.looks": looks.version}))
    before = open_session(lake, engine, find_release(lake, None))
    old = [file.uri for file in open_table(lake, "silver.things", 1).files()]
    assert [(done.table, done.files_before, done.files_after) for done in compact(lake, now=NOW)] == [
        ("bronze.looks", 6, 1)
    ]
    [done] = vacuum(lake, LakeSettings(), now=LATER, dry_run=False)
    assert (done.table, done.files) == ("silver.things", len(old))
    assert maintain(lake, LakeSettings(), now=LATER) == []
    for session in (before, open_session(lake, engine, find_release(lake, None))):
        assert session.execute("select id from silver.things").fetchall() == [(3,)]
        assert session.execute("select count(*) from bronze.looks").fetchall() == [(6,)]
        session.close()
    assert open_table(lake, "bronze.looks").read().num_rows == 6
    assert {table.reclaimable for table in sizes(lake, LakeSettings(), now=LATER)} == {0}


def test_one_of_two_concurrent_writers_is_refused(lake: Lake) -> None:
    """Of two replacements of one version, or two releases on one parent, only one succeeds."""
    create_table(lake, "silver.things", SCHEMA).append(rows((1, "1", JUNE)))
    tables = [open_table(lake, "silver.things") for _ in range(2)]
    results = both(lambda: tables.pop().replace(rows((2, "2", JUNE))))
    assert [type(result) for result in results if result != 2] == [CommitConflict]
    results = both(lambda: publish(lake, release_of(1, things=2)))
    assert [type(result) for result in results if not isinstance(result, Release)] == [CommitConflict]
    assert len(list_releases(lake)) == 1


def test_two_concurrent_appends_both_arrive(lake: Lake) -> None:
    """If two threads create the same table and append to it, there is one table with both rows."""
    both(lambda: create_table(lake, "silver.things", SCHEMA).append(rows((1, "1", JUNE))))
    assert open_table(lake, "silver.things").read(["id"])["id"].to_pylist() == [1, 1]


def test_one_of_two_concurrent_compactions_commits(lake: Lake) -> None:
    """The other one commits nothing, so that no row is in the table twice."""
    looks = create_table(lake, "bronze.looks", LOOK, partition_by=["observed_on"])
    for number in range(12):
        looks.append(pa.Table.from_pylist([{"id": number, "observed_on": JUNE}], schema=LOOK))
    counts = both(lambda: len(compact(lake, now=NOW)))
    assert sorted(open_table(lake, "bronze.looks").read()["id"].to_pylist()) == list(range(12))
    assert sorted(map(str, counts)) == ["0", "1"]


def test_tables_are_listed_and_the_lake_is_removed(lake: Lake) -> None:
    """Removing a lake leaves another lake in a neighbouring folder as it is."""
    other = Lake(root=f"{lake.root}-other")
    for place in (lake, other):
        create_table(place, "silver.things", SCHEMA)
        create_table(place, "silver.others", SCHEMA)
        create_table(place, "gold.sums", SCHEMA)
    assert lake.tables("silver") == ["silver.others", "silver.things"]
    assert lake.tables("bronze") == []
    lake.remove()
    assert lake.tables("silver") == lake.tables("gold") == []
    assert not table_exists(lake, "gold.sums")
    assert other.tables("gold") == ["gold.sums"]


def test_staged_files_without_a_commit_are_no_table(lake: Lake) -> None:
    """If a first build is killed before its commit, its files are not listed as a table."""
    create_table(lake, "gold.sums", SCHEMA, partition_by=["month"])
    stage("gold.new_daily", lake.uri("gold.new_daily"), rows((1, "2.50", JUNE)), partition_by=["month"])
    assert [table.table for table in read_status(lake).tables] == ["gold.sums"]
    assert list_tables(lake, "gold") == ["gold.sums"]


def test_a_build_publishes_and_notices_a_change(lake: Lake) -> None:
    """The models run on files of any store, and the same change has the same effect on revenue."""
    shop = Shop(lake, FEW)
    for name in SCHEMAS:
        create_table(lake, name, SCHEMAS[name], partition_by=["observed_on"])
    for name, text in HISTORY.items():
        shop.observe(name, text)
    first = shop.publish()
    shop.observe("bronze.orders", f"""
        id | ordered_at       | source_id | manager_id | buyer_id | status_id | grand_total | fetched_at
        2  | 2026-06-10 10:00 | 1         | 22         | 31       | 12        | 250.00 | {instant(5)}
    """)  # fmt: skip
    second = shop.publish()
    moved = second.money["gold.revenue_daily"] - first.money["gold.revenue_daily"]
    assert moved == Decimal("50.00")
    revenues = [
        open_table(lake, "gold.revenue_daily", release.tables["gold.revenue_daily"]).read(["revenue"])
        for release in (first, second)
    ]
    assert [pc.sum(revenue["revenue"]).as_py() for revenue in revenues] == [
        release.money["gold.revenue_daily"] for release in (first, second)
    ]


def test_an_object_store_has_no_catalogue() -> None:
    """In an object store no catalogue is written, and no request is made."""
    place = Lake(root="s3://no-bucket/lake")
    write_catalogue(place, release_of(1))
    assert place.catalogue is None
    assert not refresh_catalogue(Lake(root="nothing"))


def test_a_mount_refuses_writes_and_incomplete_responses() -> None:
    """An incomplete response is an error, because DuckDB would use the rest of its buffer as content."""
    with pytest.raises(PermissionError, match="only commits to Delta tables write files"):
        Mount("s3").open("s3://bucket/file", "wb")
    reader = RangeReader("s3://bucket/file", pa.BufferReader(b"12345"), 9)
    reader.seek(1)
    assert (reader.read(3), reader.tell()) == (b"234", 4)
    with pytest.raises(OSError, match="received 1 of 4 bytes at offset 4"):
        reader.read(4)


def test_files_are_uploaded_concurrently(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of this process responds only after several uploads have arrived; none blocks it."""
    here = threading.Barrier(4, timeout=300)

    class Slow(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            here.wait()
            self.send_response(200)
            self.send_header("ETag", '"x"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        folder = Files("s3://bucket/lake")
        with ThreadPoolExecutor(folder.parallelism) as pool:
            list(pool.map(lambda number: folder.create(f"a/{number}", b"x"), range(here.parties)))
        server.shutdown()
