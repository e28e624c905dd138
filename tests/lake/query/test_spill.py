"""Spill folder: private to a user and a process, and deleted after a process that was killed."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lake.errors import ConfigError
from lake.paths import Lake
from lake.query import spill
from lake.query.session import connect
from lake.query.spill import prefix, spill_folder
from lake.settings import LakeSettings
from tests.support.running import environ_of, succeed

PROJECT = Path(__file__).parents[3]
HOLDER = """
import os, sys
from lake.query.spill import spill_folder
from lake.settings import LakeSettings
print(os.path.realpath(spill_folder(LakeSettings(spill=sys.argv[1]))), flush=True)
sys.stdin.read()
"""


def holder(base: Path) -> "subprocess.Popen[str]":
    """Start a process that uses a spill folder in ``base`` until it is killed."""
    command = [sys.executable, "-c", HOLDER, str(base)]
    return subprocess.Popen(command, cwd=PROJECT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def line(child: "subprocess.Popen[str]") -> Path:
    """Return the folder that a process printed."""
    assert child.stdout
    return Path(child.stdout.readline().strip())


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has not created a spill folder yet."""
    monkeypatch.setattr(spill, "FOLDERS", {})


@pytest.mark.usefixtures("forgetful")
def test_a_folder_is_for_its_user_alone_whatever_the_umask(tmp_path: Path) -> None:
    """Another user can neither read a spill nor list its files."""
    before = os.umask(0)
    try:
        folder = Path(spill_folder(LakeSettings(spill=str(tmp_path)))).resolve()
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder.parent == tmp_path
    assert Path(spill_folder(LakeSettings(spill=str(tmp_path)))).samefile(folder)


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("kind", ["folder", "link", "file"])
def test_what_another_user_prepared_is_never_used(tmp_path: Path, kind: str) -> None:
    """A name that exists already, even one that looks like a spill folder, gets no file."""
    prepared, target = tmp_path / f"{prefix()}aaaa", tmp_path / "elsewhere"
    target.mkdir(mode=0o777)
    if kind == "folder":
        prepared.mkdir(mode=0o777)
        (tmp_path / "keylake-spill").mkdir(mode=0o777)
    elif kind == "link":
        prepared.symlink_to(target)
    else:
        prepared.write_text("")
    settings = LakeSettings(memory_limit="24MB", threads=1, spill=str(tmp_path))
    folder = Path(spill_folder(settings)).resolve()
    assert folder != prepared
    with connect(settings) as connection:
        connection.execute(
            "create table big as select range as i, random()::varchar as t from range(1_500_000)"
        )
        assert any(folder.iterdir())
    assert not any(target.iterdir())


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["folder", "link"])
def test_another_folder_in_its_place_gets_no_row(tmp_path: Path, kind: str, when: str) -> None:
    """A user who owns the parent folder can rename ours, before or while DuckDB writes, and reads nothing."""
    settings = LakeSettings(memory_limit="24MB", threads=1, spill=str(tmp_path))
    folder = Path(spill_folder(settings)).resolve()
    moved, target = folder.with_name("moved"), tmp_path / "elsewhere"
    target.mkdir(mode=0o777)
    with connect(settings) as connection:
        if when == "after":
            connection.execute("create table first as select range as i, random() as r from range(2_000_000)")
            assert any(folder.iterdir())
        folder.rename(moved)
        if kind == "link":
            folder.symlink_to(target)
        else:
            folder.mkdir(mode=0o777)
        connection.execute("create table big as select range as i, random() as r from range(2_000_000)")
        assert any(moved.iterdir())
        assert not any(folder.iterdir())
    assert not any(moved.iterdir())
    assert not any(folder.iterdir())
    # The next session does not use the other folder either.
    assert Path(spill_folder(settings)).resolve() not in (folder, target, moved)


@pytest.mark.usefixtures("forgetful")
def test_a_folder_that_others_can_enter_is_never_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If another folder is put in place of a new one before it is opened, a new name is tried."""
    create, names = tempfile.mkdtemp, iter(["open", "link", "file", "own"])

    def replaced(*, prefix: str, dir: Path) -> str:
        folder, name = Path(create(prefix=prefix, dir=dir)), next(names)
        if name == "open":
            folder.chmod(0o777)
        elif name != "own":
            folder.rmdir()
            folder.symlink_to(dir) if name == "link" else folder.write_text("")
        return str(folder)

    monkeypatch.setattr("tempfile.mkdtemp", replaced)
    folder = Path(spill_folder(LakeSettings(spill=str(tmp_path)))).resolve()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert next(names, None) is None


def test_folders_of_killed_processes_are_swept_and_those_in_use_stay(tmp_path: Path) -> None:
    """The clear text that a kill leaves behind is deleted at the next start of any process."""
    with holder(tmp_path) as killed, holder(tmp_path) as running:
        left, used = line(killed), line(running)
        (left / "inner" / "folder").mkdir(parents=True)
        for file in (left / "duckdb_temp_storage", left / "inner" / "folder" / "rows"):
            file.write_text("+380 67 000 00 00")
        (used / "duckdb_temp_storage").write_text("")
        killed.kill()
        killed.wait()
        assert left.exists()
        with holder(tmp_path) as other:
            assert line(other) not in (left, used)
            other.kill()
        assert not left.exists()
        assert (used / "duckdb_temp_storage").exists()
        running.kill()


@pytest.mark.usefixtures("forgetful")
def test_without_a_place_to_spill_queries_that_fit_still_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A temporary folder that can't be written is reported in the log and stops no query."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing" / "folder"))
    with connect(LakeSettings()) as connection:
        assert connection.execute("select 1").fetchall() == [(1,)]
    with pytest.raises(ConfigError, match=r"\[lake\] spill: .* can't be written: .*; name a folder"):
        spill_folder(LakeSettings(spill=str(tmp_path / "missing" / "folder")))


def test_a_command_leaves_no_folder_behind(lake: Lake, tmp_path: Path) -> None:
    """An ordinary end deletes the folder that the command created."""
    environ = environ_of(lake, KEYLAKE_LAKE_SPILL=str(tmp_path / "spill"))
    assert "1" in succeed(environ, "lake", "sql", "select 1 as number")
    assert list((tmp_path / "spill").iterdir()) == []
