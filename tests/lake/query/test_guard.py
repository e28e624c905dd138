"""Guard: the SQL of a person writes inside no lake, however it is spelled, and elsewhere as usual."""

import os
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from lake.cli.prompt import run_script
from lake.errors import UsageError
from lake.paths import Lake
from lake.query.catalogue import write_catalogue
from lake.query.guard import OPEN_SETTINGS, guarded
from lake.query.session import Connection, open_session
from lake.releases.release import find_release
from tests.support.release_history import ENGINE, publish_ids

Content = dict[str, tuple[int, int]]
# {lake}: the open lake, {other}: another one, {gold}: a table's folder. The current folder contains all.
INSIDE = """
    copy (select 1 as a) to '{gold}/x.csv'
    COPY gold.sums TO '{gold}/x.parquet' (FORMAT parquet)
    copy gold.sums (id) to '{lake}/x.csv' with (format csv)
    copy (select 1) to 'lake/x.csv'
    copy (select 1) to './out/../lake/gold/x.csv'
    copy (select 1) to 'link/x.csv'
    copy (select 1) to 'link/../lake/x.csv'
    copy (select 1) to 'linked.csv'
    copy (select 1) to 'hard.parquet' (format parquet, use_tmp_file false)
    copy (select 1) to '{other}/silver/x.csv'
    copy (select 1) to '{lake}/archive/2026-01/x.csv'
    copy (select 1) to 'table/x.csv'
    copy (select 1) to '/proc/self/cwd/lake/x.csv'
    copy (select 1) to 'file://{lake}/x.csv'
    copy (select 1) to 'file:{lake}/x.csv'
    copy (select 1) to 'file://localhost{lake}/x.csv'
    copy (select 1) to e'{lake}/x.csv'
    copy (select 1) to $${lake}/x.csv$$
    copy (select 1) to $tag${lake}/x.csv$tag$
    copy (select 1) to "{lake}/x.csv"
    copy (select 1) to ('{lake}' || '/x.csv')
    set variable x = '{lake}/x.csv'; copy (select 1) to (getvariable('x'))
    select 1; copy (select ' to ''out/x.csv''') to '{lake}/x.csv' -- to 'out/x.csv'
    copy/**/(select 1)/* to 'out/x.csv' */to '{lake}/x.csv'
    copy (select 1 as a, 2 as b) to '{lake}' (format parquet, partition_by (a))
    copy (select 1 as a, 2 as b) to '.' (format parquet, partition_by (a), overwrite)
    copy (select '..' as a, 'lake' as b, 1 as c) to 'p' (partition_by (a, b), hive_file_pattern false)
    copy (select 1 as c) to 'p' (format parquet, per_thread_output, filename_pattern '../lake/x')
    copy (select 1 as c) to 'p' (format parquet, per_thread_output, "file_extension" '/../lake/x')
    with a as (copy (select 1) to '{lake}/x.csv') from a
    with a as not materialized (copy (select 1) to '{lake}/x.csv') select 1
    with a as (copy gold.sums to '{lake}/x.csv') pivot a on count using sum(count)
    create table t as with a as (copy (select 1) to '{lake}/x.csv') select 1 as i from a
    copy (with a as (copy (select 1) to '{lake}/x.csv') from a) to 'out/x.csv'
    explain analyze copy (select 1) to '{lake}/x.csv'
    explain (analyze, format json) copy (select 1) to '{lake}/x.csv'
    explain analyze with a as (copy (select 1) to '{lake}/x.csv') from a
    prepare p as copy (select 1) to '{lake}/x.csv'; execute p
    prepare p as with a as (copy (select 1) to '{lake}/x.csv') from a; execute p
    from json_execute_serialized_sql(json_serialize_sql('with a as (copy (select 1) to ''lake/x'') from a'))
    set variable v = (select 1 from "JSON_execute_serialized_sql"('{{}}'))
    from query(if(current_query() like 'explain%', 'select 1', 'select 2'))
    from "query" /* (' */ ('select 1')
    from main.query('select 1')
    from system.main.query('select 1')
    from "main".Query('select 1')
    from main . "query" ('select 1')
    call main.query('select 1')
    create macro q(x) as table from main.query(x)
    from query /* /* */ */ ('select 1')
    select e'\\'', x from query('select e''a''') t(x)
    select 1 as x$q$ from query('select 1 as x$q$')
    copy (pivot gold.sums on id using count(*)) to '{lake}/x.csv'
    export database '{gold}'
    export database '.'
    export database memory to 'lake/out' (format parquet)
    import database 'evil'
    pragma import_database('evil')
    attach '{gold}/x.db'
    attach 'lake/lake.duckdb' as x
    attach if not exists 'link/x.db' as x (read_only false)
    attach 'lake/x.db' as x (encryption_key 'read_only,')
    attach 'lake/lake.duckdb' as x (read_only, readwrite)
    attach ('lake/' || 'x.db') as x
    attach ':memory:/../lake/x.db' as x
    attach or replace "lake/x.db" as x
    load httpfs
    install httpfs
    update extensions
    copy (select 1) to 's3://bucket/x.csv'
"""
# Through links that DuckDB follows while it writes to a folder, or next to a file. {entry}: a log's entry.
THROUGH = """
    copy (select 1 as a, 2 as b) to 'q' (format parquet, partition_by (a), overwrite true)
    copy (select 1 as a, 2 as b) to 'q' (format parquet, partition_by (a), overwrite_or_ignore true)
    copy (select 1 as a, 2 as b) to 'q' (format parquet, partition_by (a), append true)
    copy (select 1 as a, 2 as b) to './out/../q-link/' (format csv, partition_by (a), overwrite)
    copy (select 1 as a, 2 as b, 3 as c) to 'deep' (format parquet, partition_by (a, b), append)
    copy (select 1 as a, 2 as b, 3 as c) to 'chain' (format parquet, partition_by (a, b), overwrite_or_ignore)
    copy (select 1 as a) to 'thread' (format parquet, per_thread_output true, overwrite_or_ignore true)
    copy (select 1 as a) to 'thread' (format parquet, file_size_bytes 1000, overwrite_or_ignore)
    copy (select 1 as a) to 'hard' (format parquet, per_thread_output, overwrite_or_ignore)
    copy (select 1 as a) to 'beside/x.csv' (format csv, use_tmp_file true)
    copy (select 1 as a) to 'beside/p.parquet' (format parquet)
    explain analyze copy (select 1 as a, 2 as b) to 'q' (partition_by (a), append)
    export database 'exported'
    export database memory to 'exported' (format parquet)
    attach 'beside/d.db' as dd; create table dd.z as select 1 as a
    attach 'beside/d.db' as dd (type duckdb); create table dd.z as select 1 as a; checkpoint dd
    attach 'beside/hard.db' as dd; create table dd.z as select 1 as a; detach dd
    attach 'asked?/d.db' as dd; create table dd.z as select 1 as a
"""
PROTECTED = """
    set temp_directory = 'lake'
    set global log_query_path = 'lake/x.log'
    set secret_directory = 'lake'
    set profiling_output = 'lake/x.json'
    pragma profile_output = 'lake/x.json'
    pragma enable_profiling
    reset temp_directory
    set enable_external_access = false
    set allowed_configs = ['temp_directory']
    set lock_configuration = false
    reset lock_configuration
    set current_dialect = 'x'
    call enable_logging(storage = 'file', storage_path = 'lake/log')
    from enable_logging(storage = 'file', storage_config = {'path': 'lake/log'})
    from enable_profiling(save_location = 'lake/x.json')
"""
ELSEWHERE = """
    copy (select 1 as a) to 'out/a.csv'; copy (select 2 as a) to 'out/a.csv' (header, delimiter e'\\t')
    COPY gold.sums (id, text) TO '{here}/out/b.parquet' WITH (FORMAT parquet, COMPRESSION zstd)
    copy (select * from gold.sums) to 'out/c' (format parquet, partition_by (text)) -- by text
    copy (select id as "to" from silver.things) to $$out/d.csv$$ (force_quote *, null '-')
    copy (pivot gold.sums on id using count(*)) to 'file://{here}/out/e.csv'
    explain analyze copy (select 1) to 'out/f.csv'
    copy (select 1 as a) to 'out-link/h.csv'
    create table t as from gold.sums; export database 'out/exported' (format parquet); drop table t
    attach 'out/m.db' as m; create table m.t as from gold.sums; copy m.t to 'out/t.csv'; detach m
    attach 'lake/lake.duckdb' as x (read_only); select count(*) from x.gold.sums; detach x
    attach ':memory:' as y; create table y.t (a int); insert into y.t values (1); truncate y.t
    copy (select 7 as i) to 'out/i.csv'; create table i (i int); copy i from 'out/i.csv' (header)
    copy (select 7 as i) to 'out/i.json'; from 'out/i*.json'; from read_json('out/i.json')
    prepare q as select $1::int + 1; execute q(41)
    explain (format json) select 1; explain (select 1) union (select 2); explain analyze select 1
    summarize gold.sums; describe gold.sums; show tables; pragma table_info('gold.sums')
    create view v as from gold.sums; create macro m(a) as a + 1; from v where id = m(1)
    pivot gold.sums on id using count(*); select count(*) as query from gold.sums
    create table i as select 7 as i; begin; update i set i = 8; delete from i where i = 1; commit
    create table i (i int); merge into i using gold.sums s on i.i = s.id when matched then delete
    set threads = 1; set memory_limit = '500MB'; reset threads; set timezone = 'Europe/Kyiv'
    set variable a = (select max(id) from gold.sums); use memory; analyze; vacuum
    copy (select 'це' as "до") to '/dev/null'
    copy (select 1 as a, 2 as b) to 'inner' (format csv, partition_by (a), append)
    copy (select 1 as a) to 'out/report.csv'; attach 'out/report' as r; create table r.t (a int); detach r
"""


def cases(text: str) -> list[str]:
    """Return the scripts of a text, one a line."""
    return [line.strip() for line in text.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two lakes, a Delta table, links into a lake, and a folder for results."""
    here = tmp_path_factory.mktemp("guarded")
    for name in ("lake", "other"):
        release = publish_ids(lake := Lake(root=str(here / name)), 1, 2, 3)
        write_catalogue(lake, release)
    file = next((here / "lake" / "gold" / "sums").glob("*.parquet"))
    (here / "hard.parquet").hardlink_to(file)
    (here / "linked.csv").symlink_to(file)
    (here / "link").symlink_to(here / "lake")
    (here / "out-link").symlink_to("out")
    (here / "table" / "_delta_log").mkdir(parents=True)
    (here / "evil").mkdir()
    (here / "evil" / "schema.sql").write_text(f"copy (select 1) to '{here}/lake/x.csv';")
    (here / "evil" / "load.sql").write_text("")
    link(here, here / "lake" / "gold" / "sums")
    return here


def link(here: Path, table: Path) -> None:
    """Create the links of THROUGH, into a table and into the folder of its layer."""
    entry = next((table / "_delta_log").glob("*.json"))
    for folder in ("q", "deep/a=1", "chain/a=1", "thread", "hard", "exported", "beside", "asked?", "outside"):
        (here / folder).mkdir(parents=True)
    (here / "q-link").symlink_to("q")
    (here / "q" / "a=1").symlink_to(table)
    (here / "deep" / "a=1" / "b=2").symlink_to(table)
    (here / "outside" / "b=2").symlink_to(table)
    (here / "chain" / "a=1").rmdir()
    (here / "chain" / "a=1").symlink_to(here / "outside")
    (here / "thread" / "data_0.parquet").symlink_to(table.parent / "x.parquet")
    (here / "hard" / "data_0.parquet").hardlink_to(entry)
    (here / "exported" / "schema.sql").symlink_to(entry)
    (here / "beside" / "x.csv").write_text("")
    (here / "beside" / "tmp_x.csv").symlink_to(table.parent / "x.csv")
    (here / "beside" / "p.parquet").write_text("")
    (here / "beside" / "tmp_p.parquet").symlink_to("second")
    (here / "beside" / "second").symlink_to(entry)
    (here / "beside" / "d.db.wal").symlink_to(table.parent / "x.wal")
    (here / "beside" / "hard.db.wal").hardlink_to(entry)
    (here / "asked.wal?").symlink_to(table.parent)
    # Links that lead nowhere else.
    (here / "inner" / "a=1").mkdir(parents=True)
    (here / "inner" / "newest").symlink_to("a=1")
    (here / "out" / "old").mkdir(parents=True)
    (here / "out" / "report.csv.old").symlink_to("old")


@pytest.fixture(scope="module")
def opened(here: Path) -> Iterator[Connection]:
    """A session over the first lake, for scripts that are refused."""
    lake = Lake(root=str(here / "lake"))
    with open_session(lake, ENGINE, find_release(lake, None)) as connection:
        yield connection


@pytest.fixture
def session(opened: Connection, here: Path, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """The session, in the folder that contains the lake."""
    monkeypatch.chdir(here)
    return opened


@pytest.fixture
def new_session(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """A session of the test's own, in the folder that contains the lake."""
    monkeypatch.chdir(here)
    (here / "out").mkdir(exist_ok=True)
    lake = Lake(root=str(here / "lake"))
    with open_session(lake, ENGINE, find_release(lake, None)) as connection:
        yield connection


def content(here: Path) -> Content:
    """Return the inode and time of change of every file and folder, except those for results."""
    names = ("lake", "other", "table", "hard.parquet")
    paths = [path for name in names for path in (here / name, *(here / name).rglob("*"))]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def script(here: Path, text: str) -> str:
    """Return a script with the names of its folders."""
    return text.format(
        here=here, lake=here / "lake", other=here / "other", gold=here / "lake" / "gold" / "sums"
    )


@pytest.mark.parametrize("text", [*cases(INSIDE), *cases(THROUGH)])
def test_no_spelling_writes_inside_a_lake(session: Connection, here: Path, text: str) -> None:
    """A statement that would write in any lake, or in a Delta table, is refused in one line."""
    before = content(here)
    with pytest.raises(UsageError) as refused:
        run_script(session, script(here, text), lambda rows: None)
    assert "\n" not in str(refused.value)
    assert not str(refused.value).startswith(("Parser", "Catalog"))
    assert content(here) == before
    assert not list(here.glob("lake/**/*x.*"))


@pytest.mark.parametrize("text", cases(PROTECTED))
def test_protected_settings_stay(session: Connection, here: Path, text: str) -> None:
    """A setting that names a file, or opens other settings, can't be changed, also without the guard."""
    before = content(here)
    with pytest.raises(UsageError, match=r"locked|not allowed"):
        run_script(session, text, lambda rows: None)
    with pytest.raises(duckdb.Error, match="locked"):
        session.execute(text)
    assert content(here) == before


@pytest.mark.parametrize("text", cases(ELSEWHERE))
def test_everything_else_works(new_session: Connection, here: Path, text: str) -> None:
    """Files elsewhere, tables in memory, attached databases and plain queries are as free as before."""
    before = content(here)
    run_script(new_session, script(here, text), lambda rows: None)
    assert content(here) == before


def test_what_is_written_is_what_was_asked_for(new_session: Connection, here: Path) -> None:
    """A composed COPY has the rows, the options and the path of the typed one."""
    texts = ["copy (select 'a;b' as \"x\", null as y) to 'out/it''s.csv' (header, delim ';', null '-')"]
    texts += ["copy gold.sums (text, id) to 'out/names.json' (array true)"]
    run_script(new_session, "; ".join(texts), lambda rows: None)
    assert (here / "out" / "it's.csv").read_text() == 'x;y\n"a;b";-\n'
    assert '{"text":"1","id":1}' in (here / "out" / "names.json").read_text()


def test_open_settings_name_no_file(session: Connection) -> None:
    """The settings that stay open exist in this DuckDB, and all others are locked."""
    rows = session.execute("select name from duckdb_settings()").fetchall()
    assert {name.lower() for name in OPEN_SETTINGS} <= {name.lower() for (name,) in rows}
    assert not [name for name in OPEN_SETTINGS if "directory" in name or "path" in name or "output" in name]


def test_an_object_store_is_never_written(s3_lake: Lake) -> None:
    """A session over a lake in a bucket refuses a path in the bucket, and still writes to a disk."""
    release = publish_ids(s3_lake, 1)
    with open_session(s3_lake, ENGINE, release) as connection:
        with pytest.raises(UsageError, match="no file of this machine"):
            run_script(connection, f"copy gold.sums to '{s3_lake.root}/x.csv'", lambda rows: None)
        shown: list[pa.Table] = []
        run_script(connection, "copy gold.sums to 'sums.csv'; from 'sums.csv'", shown.append)
    assert shown[-1].num_rows == 1
    assert os.path.exists("sums.csv")


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_comment_ends_with_its_line(session: Connection, end: str) -> None:
    """Each end of a line that DuckDB accepts ends a comment."""
    with pytest.raises(UsageError, match="runs a text as SQL"):
        guarded(session, f"from -- x{end}query('select 1')")
