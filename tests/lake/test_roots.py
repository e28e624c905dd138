"""Roots: every root works all the way, or is refused in one line before anything is written."""

import os
import re
import tempfile
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from lake.backup.backup import back_up, restore
from lake.cli.main import open_lake, plain
from lake.config import read_config
from lake.delta.tables import create_table, open_table
from lake.errors import ConfigError, UsageError
from lake.maintenance.compaction import compact
from lake.maintenance.vacuum import maintain
from lake.paths import Lake, fault
from lake.query.catalogue import show_ledgers, write_catalogue
from lake.query.session import fetch, open_session
from lake.settings import LakeSettings
from tests.support.release_history import ENGINE, SCHEMA, publish_ids
from tests.support.simulated_lake import BRONZE, SILVER, Simulated, at, newest

GOOD = [
    " my  shop #{x}+&;! 100% %zz",
    '-rf $HOME `x` ~ it\'s "quoted" a:b@c,d<e>',
    "крамниця café cafe\u0301 😀" + "x" * 180,
]
BAD = {
    "my [shop]": "contains '['",
    "a]b": "contains ']'",
    "a*b": "contains '*'",
    "a?b": "contains '?'",
    "a|b": "contains '|'",
    "a^b": "contains '^'",
    "a\\b": r"contains '\\'",
    "a%20b": "contains '%20'",
    "%2e%2E": "contains '%2e'",
    "a\rb": r"contains '\r'",
    "a\nb": r"contains '\n'",
    "a\tb": r"contains '\t'",
    "a\x1b[31mb": r"contains '\x1b'",
    "a\x7fb": r"contains '\x7f'",
    "a\u200bb": r"contains '\u200b'",
    "a\u2028b": r"contains '\u2028'",
    "a\udcffb": r"contains '\udcff'",
    "a\0b": r"contains '\x00'",
    "month=2026-01-01": "a folder 'month=2026-01-01', which is read as part of a table",
    "id=5": "a folder 'id=5'",
    "_delta_log": "a folder '_delta_log'",
    "x" * 256: "is too long",
    "/".join(["x" * 200] * 20): "is too long",
}


@pytest.mark.parametrize("name", GOOD)
def test_a_root_works_all_the_way(tmp_path: Path, name: str) -> None:
    """Appends, a second sync, SQL, the catalogue, maintenance, a backup and its restore have all rows."""
    place = tmp_path / name
    shop = Simulated(Lake(root=str(place / "lake"), durable=False), now=at(0))
    shop.start(orders=4, months=2)
    for _ in range(3):
        shop.sync()
        shop.passes(timedelta(minutes=5))
    lake = shop.lake
    bronze = open_table(lake, BRONZE)
    assert bronze.appended("id", after=1) <= set(bronze.read(["id"])["id"].to_pylist())
    assert bronze.uris() == {file.uri for file in bronze.files()}
    assert all(map(os.path.exists, bronze.uris()))
    write_catalogue(lake, newest(lake))
    write_catalogue(lake, newest(lake))
    assert catalogue_rows(lake) == session_rows(lake) == open_table(lake, SILVER).read().num_rows > 8
    compact(lake, now=shop.now)
    maintain(lake, LakeSettings(), now=shop.now)
    shop.sync()
    back_up(lake, str(place / "backup"), now=shop.now)
    restored = Lake(root=str(place / "restored"), durable=False)
    restore(str(place / "backup"), restored)
    show_ledgers(restored)
    assert catalogue_rows(restored) == session_rows(restored) == session_rows(lake)
    assert {path.name for path in tmp_path.iterdir()} == {name}


def session_rows(lake: Lake) -> int:
    """Return the rows that SQL over the newest release counts."""
    with open_session(lake, ENGINE, newest(lake)) as connection:
        return int(fetch(connection, f"select count(*) as rows from {SILVER}")["rows"][0].as_py())


def catalogue_rows(lake: Lake) -> int:
    """Return the rows that an analyst's own DuckDB counts."""
    with duckdb.connect(str(lake.catalogue), read_only=True) as connection:
        ((rows,),) = connection.execute(f"select count(*) from {SILVER}").fetchall()
    return int(rows)


@pytest.mark.parametrize("name", BAD)
def test_an_unusable_root_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    """Delta or DuckDB would read such a path as another one; the line names the part and the next step."""
    with pytest.raises(UsageError, match=rf"{re.escape(BAD[name])}.*; name another folder") as refused:
        Lake(root=str(tmp_path / name / "lake"))
    assert plain(str(refused.value)) == str(refused.value)
    assert str(refused.value).isprintable()
    with pytest.raises(ConfigError, match="name another folder"):
        read_config({"KEYLAKE_LAKE_ROOT": str(tmp_path / name)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["my [shop]", "a%20b", "x=1"])
def test_the_folder_that_a_relative_root_starts_in_counts(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative root, and a link, are judged by the path that they lead to."""
    (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(name)
    monkeypatch.chdir(tmp_path / name)
    for root in ("data/lake", "../link/lake", str(tmp_path / "link")):
        with pytest.raises(UsageError, match=r"contains.*; name another folder"):
            Lake(root=root)
    assert fault("..") is None


def test_a_root_behind_a_link_works(tmp_path: Path) -> None:
    """The catalogue and a backup name the folder that a link leads to."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    lake = Lake(root=str(tmp_path / "link"), durable=False)
    write_catalogue(lake, publish_ids(lake, 1, 2))
    assert lake.catalogue
    with duckdb.connect(str(lake.catalogue), read_only=True) as connection:
        assert connection.execute("select count(*) from gold.sums").fetchall() == [(2,)]
    with pytest.raises(UsageError, match="outside of the lake"):
        back_up(lake, str(tmp_path / "disk" / "backup"), now=at(0))


@pytest.mark.parametrize("kind", ["file", "below a file", "link to nowhere", "link to itself"])
def test_a_root_that_can_not_be_a_folder_is_refused(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something else in the place of the folder is left as it is."""
    root = tmp_path / "lake"
    if kind == "link to nowhere":
        root.symlink_to(tmp_path / "file" / "missing")
    if kind == "link to itself":
        root.symlink_to(root)
    (tmp_path / "file").write_text("content")
    chosen = {"file": tmp_path / "file", "below a file": tmp_path / "file" / "lake"}.get(kind, root)
    refusal = r"(no lake can be there \(|it is no folder).*; name another folder"
    with pytest.raises(UsageError, match=refusal):
        create_table(Lake(root=str(chosen)), "silver.things", SCHEMA)
    monkeypatch.setenv("KEYLAKE_LAKE_ROOT", str(chosen))
    with pytest.raises(UsageError, match=refusal):
        open_lake()
    assert (tmp_path / "file").read_text() == "content"


@pytest.mark.parametrize("mode", [0o555, 0o500, 0o000])
@pytest.mark.parametrize("inside", ["", "/lake"])
def test_a_folder_without_permission_is_refused(mode: int, inside: str) -> None:
    """A user who can't write in the folder, or create it, gets one line, and nothing is written."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(mode)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)
        try:
            with pytest.raises(
                UsageError, match=r"(Permission denied|can't (read|write in) it).*; name another folder"
            ):
                create_table(Lake(root=name + inside), "silver.things", SCHEMA)
        finally:
            if is_root:
                os.seteuid(0)
            Path(name).chmod(0o700)
        assert os.listdir(name) == []


@pytest.mark.parametrize("prefix", ["a#b", "a//b", "a/../b", "a/./b", "a%20b", "a?b", "a[b]", "a\tb", "id=5"])
def test_a_prefix_that_an_address_can_not_name_is_refused(prefix: str) -> None:
    """In an object store such a prefix would be another one, or none."""
    with pytest.raises(UsageError, match=r"it contains .*; name another folder, or a prefix"):
        Lake(root=f"s3://bucket/{prefix}/lake")


@pytest.mark.parametrize("prefix", ["plain", "a b", "a+b", "it's", "крамниця", "a@b:c,d", "a/", ".a/..b"])
def test_other_prefixes_are_accepted(prefix: str) -> None:
    """What Delta and DuckDB read as it is written is allowed."""
    assert fault(f"s3://bucket/{prefix}") is None


@pytest.mark.parametrize(
    "root", ["s3://KEY:SECRET@bucket/lake", "s3://bucket/lake?token=SECRET", "x://K:SECRET@b/l"]
)
def test_a_key_in_a_root_is_refused_and_not_repeated(root: str) -> None:
    """The root is recorded in many places, and credentials have their own variables."""
    with pytest.raises(UsageError) as refused:
        Lake(root=root)
    with pytest.raises(ConfigError) as wrong:
        read_config({"KEYLAKE_LAKE_ROOT": root})
    assert "SECRET" not in f"{refused.value} {wrong.value}"
    assert fault("abfss://container@account.dfs.core.windows.net/lake") is None


def test_a_prefix_with_special_characters_works(s3_lake: Lake) -> None:
    """A session over a lake in a bucket reads what was published there."""
    lake = Lake(root=f"{s3_lake.root}/it's a+b 100% крамниця")
    publish_ids(lake, 1)
    release = publish_ids(lake, 1, 2)
    with open_session(lake, ENGINE, release) as connection:
        assert fetch(connection, "from gold.sums").num_rows == 2
