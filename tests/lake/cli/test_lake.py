"""``status`` and ``sql`` as an operator meets them: of the release that serves, or of an older one."""

import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from lake.cli.lake import lake as commands
from lake.delta.log import DataFile
from lake.delta.table import open_table
from lake.errors import NoRelease, TableMissing, UsageError
from lake.paths import Lake
from lake.releases.release import find_release
from lake.releases.tags import write_tag
from tests.lake.query.test_session import TERMINAL, press, read_until
from tests.support.running import environ_of, launched
from tests.support.simulated_lake import BRONZE, GOLD, SILVER, Simulated, at, files

Run = Callable[..., str]
ORDERS = 40
# A shell's background job ignores Ctrl-C, and what it starts does too.
SQL = """
import signal
from lake.__main__ import lake, main
signal.signal(signal.SIGINT, signal.default_int_handler)
main(lake, "python -m lake")
"""
# No test waits for its end, and DuckDB by itself does not always look for signals in it.
ENDLESS = "select count(*) as n from range(3000000) a, range(1000000) b where (a.range * b.range) % 7 = 3"
ENDLESSLY = [ENDLESS, f"create temp table endless as {ENDLESS}"]


@pytest.fixture
def days(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Simulated:
    """Three releases, a day apart; the first is called ``first``."""
    monkeypatch.setenv("KEYLAKE_LAKE_ROOT", lake.root)
    monkeypatch.setenv("KEYLAKE_LAKE_MEMORY_LIMIT", "512MB")
    month = Simulated(lake, now=at(0))
    month.start(orders=ORDERS)
    for _ in range(2):
        month.passes(timedelta(days=1))
        month.sync()
    write_tag(lake, find_release(lake, 1), "first", now=month.now)
    return month


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command that succeeds; return what it prints."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        commands.main(args=list(arguments), prog_name="lake", standalone_mode=False)
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("which", [("--release", "1"), ("--as-of", "first"), ("--as-of", "2026-09-01")])
def test_status_of_an_older_release(days: Simulated, run: Run, which: tuple[str, str]) -> None:
    """Its versions and rows, and the ingest that was the last one then; and which release serves now."""
    head, last, *_ = run("status", *which).splitlines()
    assert head.startswith("release 1 (sync), published ")
    assert head.endswith("; release 3 serves now")
    assert last.startswith("last ingest incremental, complete")
    found = {row["table"]: row for row in json.loads(run("status", *which, "--format", "json"))}
    release = find_release(days.lake, 1)
    assert {name: row["version"] for name, row in found.items()} == {**release.tables, **release.consumed}
    assert list(found) == [BRONZE, SILVER, GOLD]
    assert found[SILVER]["rows"] == ORDERS * 12
    assert found[BRONZE]["newest"] == "2026-09-01T00:00:00Z"


def test_status_of_the_newest_is_the_status(days: Simulated, run: Run) -> None:
    """However it is named; heads and ledgers are in it."""
    plain = json.loads(run("status", "--format", "json"))
    assert "ops.runs" in {row["table"] for row in plain}
    for which in (("--release", "3"), ("--as-of", "2030-01-01")):
        assert json.loads(run("status", *which, "--format", "json")) == plain


def test_an_export_is_of_the_release_that_is_named(days: Simulated, run: Run) -> None:
    """As CSV, by number, tag and day."""
    query = f"select id, text, month from {SILVER} order by all"
    exports = [run("sql", query, "--format", "csv", *which) for which in ((), ("--as-of", "first"))]
    counts = [len(list(csv.DictReader(io.StringIO(export)))) for export in exports]
    assert counts == [ORDERS * 12 + 6, ORDERS * 12]
    for which in (("--release", "1"), ("--as-of", "1"), ("--as-of", "2026-09-01T03:00+03:00")):
        assert run("sql", query, "--format", "csv", *which) == exports[1]


@pytest.mark.parametrize(
    ("form", "shown"),
    [("csv", "a\n1\nb\n2\n"), ("json", '[\n {\n    "a": 1\n }\n]\n[\n {\n    "b": 2\n }\n]\n')],
)
def test_every_statement_of_a_query_is_answered(days: Simulated, run: Run, form: str, shown: str) -> None:
    """As those of a pipe are; the first that fails ends it with one line."""
    said = run("sql", "select 1 as a; set threads = 1; select 2 as b;", "--format", form)
    assert said.replace("  {", " {").replace("  }", " }") == shown
    assert said.index("a") < said.index("b")
    with pytest.raises(UsageError, match="nothing_there does not exist") as refused:
        run("sql", "select 1 as a; from nothing_there; select 2 as b")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("endless", ENDLESSLY)
def test_an_interrupted_query_leaves_the_session_as_it_is(lake: Lake, tmp_path: Path, endless: str) -> None:
    """Ctrl-C ends what runs, says so, and the next line is asked for; temporary tables are there."""
    ours, theirs = pty.openpty()
    environ = environ_of(lake, XDG_STATE_HOME=str(tmp_path), TERM="dumb")
    environ["PYTHONPATH"] = str(Path(__file__).parents[3])
    with launched(
        [sys.executable, "-c", TERMINAL + SQL, "sql", "--format", "csv"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environ,
        start_new_session=True,
    ) as child:
        os.close(theirs)
        read_until(ours, "sql> ")
        os.write(ours, f"create temp table mine as select 41 as kept; from mine; {endless};\n".encode())
        read_until(ours, "kept\r\n41\r\n")
        press(ours, "\x03")
        assert "interrupted\n" in read_until(ours, "sql> ")
        os.write(ours, b"select kept + 1 as answer from mine;\n")
        assert "answer\n42\n" in read_until(ours, "sql> ")
        os.write(ours, b".quit\n")
        read_until(ours, None)
        os.close(ours)
    assert child.returncode == 0


@pytest.mark.parametrize("endless", ENDLESSLY)
def test_an_interrupted_command_ends_with_one_line(lake: Lake, endless: str) -> None:
    """A query of the command line, and one from a pipe."""
    environ = environ_of(lake, PYTHONUNBUFFERED="1", PYTHONPATH=str(Path(__file__).parents[3]))
    query = f"select 1 as begun; {endless}"
    for arguments, given in (([query], ""), ([], query)):
        with launched(
            [sys.executable, "-c", SQL, "sql", "--format", "csv", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
        ) as child:
            assert child.stdin
            assert child.stdout
            child.stdin.write(given)
            child.stdin.close()
            assert [child.stdout.readline() for _ in range(2)] == ["begun\n", "1\n"]
            child.send_signal(signal.SIGINT)
            assert child.stderr
            said = child.stderr.read()
        assert (child.returncode, said.strip()) == (130, "interrupted; what was done is kept")


@pytest.mark.parametrize("command", [("status",), ("sql", "select 1")])
def test_what_names_no_release_is_refused(days: Simulated, run: Run, command: tuple[str, ...]) -> None:
    """Release 0 too: it is not the newest."""
    for number in ("0", "4"):
        with pytest.raises(NoRelease, match=f"release {number} was never published, the newest is 3"):
            run(*command, "--release", number)
    with pytest.raises(UsageError, match="names no release"):
        run(*command, "--as-of", "")


def test_a_release_whose_files_are_gone_is_one_line(days: Simulated, run: Run) -> None:
    """What is missing, and why."""
    released = {file.uri for file in files_of(days.lake, 3)}
    for file in files(days.lake, "silver"):
        if file.suffix == ".parquet" and str(file) not in released:
            file.unlink()
    for command in (("sql", "select 1", "--release", "1"), ("diff", "1", "3")):
        with pytest.raises(
            TableMissing, match=f"{SILVER}: files of version 1 are missing; a vacuum"
        ) as refused:
            run(*command)
        assert "\n" not in str(refused.value)
    assert "3" in run("sql", "select release from ops.current_release", "--format", "csv")


def files_of(lake: Lake, number: int) -> list[DataFile]:
    """Return the files of silver in a release."""
    return open_table(lake, SILVER, find_release(lake, number).tables[SILVER]).files()
