"""Stores: the same lake on this disk and in an object store, read and written by the same code."""

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
from lake.delta.table import create_table, list_tables, open_table, table_exists
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
from tests.support.built_lake import FEW, HISTORY, Shop, look

SCHEMA = Contract.of({"id": "BIGINT", "amount": "DECIMAL(18,2)?", "month": "DATE"}).schema
LOOK = Contract.of({"id": "BIGINT", "observed_on": "DATE"}).schema
# Everything written by a test is old by then.
NOW = datetime.now(UTC)
LATER = NOW + timedelta(days=200)
JUNE, JULY = date(2026, 6, 1), date(2026, 7, 1)


@pytest.fixture
def lake(any_lake: Lake) -> Lake:
    """An empty lake, in every kind of place."""
    return any_lake


def rows(*found: tuple[int, str, date]) -> pa.Table:
    """Return rows of the test's table."""
    items = [{"id": key, "amount": Decimal(amount), "month": month} for key, amount, month in found]
    return pa.Table.from_pylist(items, schema=SCHEMA)


def release_of(number: int, **tables: int) -> Release:
    """Return a release of the test's tables, on the one before it."""
    return Release(
        release=number,
        published_at=datetime(2026, 6, number, 12, tzinfo=UTC),
        kind="sync",
        parent=number - 1 or None,
        tables={f"silver.{name}": at for name, at in tables.items()},
        consumed={},
    )


def both(action: Callable[[], object]) -> list[object]:
    """Run the action in two threads at once; return what each gave or raised."""
    start = threading.Barrier(2, timeout=300)
    found: list[object] = []

    def run() -> None:
        start.wait()
        try:
            found.append(action())
        except LakeError as error:
            found.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


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
    """Partition columns included, filters too; some of the files, or none."""
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
    """Whichever thread asks for whichever part of a file, it gets that part."""
    table = create_table(lake, "silver.things", SCHEMA)
    for part in range(6):
        table.append(rows(*((part * 20000 + key, f"{key}.25", JUNE) for key in range(20000))))
    connection = connect(LakeSettings(memory_limit="512MB", threads=4, spill=str(tmp_path)))
    query = f"select count(*), sum(id), sum(amount) from ({scan(connection, table)})"
    answers = {connection.execute(query).fetchone() for _ in range(5)}
    assert answers == {(120000, 7199940000, Decimal("1199970000.00"))}
    connection.close()


def test_releases_are_published_and_read_as_of(lake: Lake, engine: LakeSettings) -> None:
    """A reader that holds release 1 is undisturbed by release 2."""
    table = create_table(lake, "silver.things", SCHEMA)
    publish(lake, release_of(1, things=table.append(rows((1, "1", JUNE)))))
    held = open_session(lake, engine, find_release(lake, None))
    publish(lake, release_of(2, things=table.replace(rows((2, "2", JUNE)))))
    newest = current_release(lake)
    assert newest == release_of(2, things=2)
    assert [release.release for release in list_releases(lake)] == [2, 1]
    for session, seen in ((held, 1), (open_session(lake, engine, newest), 2)):
        assert session.execute("select id from silver.things").fetchall() == [(seen,)]
        assert session.execute("select release from ops.current_release").fetchall() == [(seen,)]
        session.close()


def test_a_release_is_found_as_of_a_time_and_rolled_back_to(lake: Lake, engine: LakeSettings) -> None:
    """By day, tag and number; the days that moved are told, and the hold is lifted again."""
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
    made = run_rollback(lake, first, current=current, now=NOW, settings=LakeSettings(keep_days=999))
    with open_session(lake, engine, made) as session:
        assert session.execute("select amount from silver.things").fetchall() == [(Decimal("1.00"),)]
    assert run_resume(lake, now=NOW)
    assert [one.kind for one in list_releases(lake)] == ["resume", "rollback", "sync", "sync"]


def test_compaction_and_vacuum_keep_what_a_release_needs(lake: Lake, engine: LakeSettings) -> None:
    """Small files become one, what nobody needs goes, and a kept release reads the same to a held session."""
    looks = create_table(lake, "bronze.looks", LOOK, partition_by=["observed_on"])
    for number in range(6):
        looks.append(pa.Table.from_pylist([{"id": number, "observed_on": JUNE}], schema=LOOK))
    table = create_table(lake, "silver.things", SCHEMA, partition_by=["month"])
    for number in (1, 2, 3):
        at = table.replace(rows((number, "1", JUNE)))
        release = release_of(number, things=at)
        publish(lake, msgspec.structs.replace(release, consumed={"bronze.looks": looks.version}))
    held = open_session(lake, engine, find_release(lake, None))
    old = [file.uri for file in open_table(lake, "silver.things", 1).files()]
    assert [(one.table, one.files_before, one.files_after) for one in compact(lake, now=NOW)] == [
        ("bronze.looks", 6, 1)
    ]
    [done] = vacuum(lake, LakeSettings(), now=LATER, dry_run=False)
    assert (done.table, done.files) == ("silver.things", len(old))
    assert maintain(lake, LakeSettings(), now=LATER) == []
    for session in (held, open_session(lake, engine, find_release(lake, None))):
        assert session.execute("select id from silver.things").fetchall() == [(3,)]
        assert session.execute("select count(*) from bronze.looks").fetchall() == [(6,)]
        session.close()
    assert open_table(lake, "bronze.looks").read().num_rows == 6
    assert {one.reclaimable for one in sizes(lake, LakeSettings(), now=LATER)} == {0}


def test_of_two_writers_at_once_one_is_refused(lake: Lake) -> None:
    """A replacement from the same version, and a release on the same parent, can be made only once."""
    create_table(lake, "silver.things", SCHEMA).append(rows((1, "1", JUNE)))
    held = [open_table(lake, "silver.things") for _ in range(2)]
    found = both(lambda: held.pop().replace(rows((2, "2", JUNE))))
    assert [type(one) for one in found if one != 2] == [CommitConflict]
    found = both(lambda: publish(lake, release_of(1, things=2)))
    assert [type(one) for one in found if not isinstance(one, Release)] == [CommitConflict]
    assert len(list_releases(lake)) == 1


def test_two_appends_at_once_both_arrive(lake: Lake) -> None:
    """And two processes that make the same table make one."""
    both(lambda: create_table(lake, "silver.things", SCHEMA).append(rows((1, "1", JUNE))))
    assert open_table(lake, "silver.things").read(["id"])["id"].to_pylist() == [1, 1]


def test_of_compactions_at_once_one_merges(lake: Lake) -> None:
    """The other leaves it to that one: no row is there twice."""
    looks = create_table(lake, "bronze.looks", LOOK, partition_by=["observed_on"])
    for number in range(12):
        looks.append(pa.Table.from_pylist([{"id": number, "observed_on": JUNE}], schema=LOOK))
    found = both(lambda: len(compact(lake, now=NOW)))
    assert sorted(open_table(lake, "bronze.looks").read()["id"].to_pylist()) == list(range(12))
    assert sorted(map(str, found)) == ["0", "1"]


def test_tables_are_listed_and_the_lake_is_removed(lake: Lake) -> None:
    """What is beside the lake stays."""
    beside = Lake(root=f"{lake.root}-beside")
    for place in (lake, beside):
        create_table(place, "silver.things", SCHEMA)
        create_table(place, "silver.others", SCHEMA)
        create_table(place, "gold.sums", SCHEMA)
    assert lake.tables("silver") == ["silver.others", "silver.things"]
    assert lake.tables("bronze") == []
    lake.remove()
    assert lake.tables("silver") == lake.tables("gold") == []
    assert not table_exists(lake, "gold.sums")
    assert beside.tables("gold") == ["gold.sums"]


def test_files_of_a_table_that_is_not_there_yet_are_no_table(lake: Lake) -> None:
    """A first build writes them before it commits, and may be killed; who looks at the lake goes on."""
    create_table(lake, "gold.sums", SCHEMA, partition_by=["month"])
    stage("gold.new_daily", lake.uri("gold.new_daily"), rows((1, "2.50", JUNE)), partition_by=["month"])
    assert [table.table for table in read_status(lake).tables] == ["gold.sums"]
    assert list_tables(lake, "gold") == ["gold.sums"]


def test_a_build_publishes_and_notices_a_change(lake: Lake) -> None:
    """The models run on files of any store, and the same change moves the same money."""
    shop = Shop(lake, FEW)
    for name in SCHEMAS:
        create_table(lake, name, SCHEMAS[name], partition_by=["observed_on"])
    for name, text in HISTORY.items():
        shop.see(name, text)
    first = shop.published()
    shop.see("bronze.orders", f"""
        id | ordered_at       | source_id | manager_id | buyer_id | status_id | grand_total | fetched_at
        2  | 2026-06-10 10:00 | 1         | 22         | 31       | 12        | 250.00 | {look(5)}
    """)  # fmt: skip
    second = shop.published()
    moved = second.money["gold.revenue_daily"] - first.money["gold.revenue_daily"]
    assert moved == Decimal("50.00")
    read = [
        open_table(lake, "gold.revenue_daily", release.tables["gold.revenue_daily"]).read(["revenue"])
        for release in (first, second)
    ]
    assert [pc.sum(found["revenue"]).as_py() for found in read] == [
        release.money["gold.revenue_daily"] for release in (first, second)
    ]


def test_an_object_store_has_no_catalogue() -> None:
    """It is left out, not attempted."""
    place = Lake(root="s3://nobody/asks")
    write_catalogue(place, release_of(1))
    assert place.catalogue is None
    assert not refresh_catalogue(Lake(root="nothing"))


def test_a_mount_refuses_to_write_and_half_an_answer() -> None:
    """DuckDB would take the rest of its buffer for content."""
    with pytest.raises(PermissionError, match="only commits to Delta tables write files"):
        Mount("s3").open("s3://bucket/file", "wb")
    reader = RangeReader("s3://bucket/file", pa.BufferReader(b"12345"), 9)
    reader.seek(1)
    assert (reader.read(3), reader.tell()) == (b"234", 4)
    with pytest.raises(OSError, match="received 1 of 4 bytes at offset 4"):
        reader.read(4)


def test_a_store_takes_several_files_at_once_and_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers in this very process, and only once all of them have come."""
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
            """Say nothing."""

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
