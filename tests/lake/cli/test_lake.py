"""Lake: the commands ``status`` and ``sql`` for the served release and for older ones."""

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
from lake.delta.tables import open_table
from lake.errors import NoRelease, TableMissing, UsageError
from lake.paths import Lake
from lake.releases.release import find_release
from lake.releases.tags import write_tag
from tests.lake.query.test_session import TERMINAL, press, read_until
from tests.support.running import environ_of, launched
from tests.support.simulated_lake import BRONZE, GOLD, SILVER, Simulated, at, files

Run = Callable[..., str]
ORDERS = 40
# A background job of a shell ignores Ctrl-C, and so do its child processes; this restores the handler.
SQL = """
import signal
from lake.__main__ import lake, main
signal.signal(signal.SIGINT, signal.default_int_handler)
main(lake, "python -m lake")
"""
# Queries that run longer than any test, and during which DuckDB does not always check for signals.
ENDLESS = "select count(*) as n from range(3000000) a, range(1000000) b where (a.range * b.range) % 7 = 3"
ENDLESSLY = [ENDLESS, f"create temp table endless as {ENDLESS}"]


@pytest.fixture
def days(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Simulated:
    """Return a lake with three releases, a day apart; the first one has the tag ``first``."""
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
    """Return a function that runs a command, which must succeed, and returns its output."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        commands.main(args=list(arguments), prog_name="lake", standalone_mode=False)
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("which", [("--release", "1"), ("--as-of", "first"), ("--as-of", "2026-09-01")])
def test_status_of_an_older_release(days: Simulated, run: Run, which: tuple[str, str]) -> None:
    """The status of an older release has its versions, its rows and its last ingest."""
    head, last, *_ = run("status", *which).splitlines()
    assert head.startswith("release 1 (sync), published ")
    assert head.endswith("; release 3 serves now")
    assert last.startswith("last ingest incremental, complete")
    tables = {row["table"]: row for row in json.loads(run("status", *which, "--format", "json"))}
    release = find_release(days.lake, 1)
    assert {name: row["version"] for name, row in tables.items()} == {**release.tables, **release.consumed}
    assert list(tables) == [BRONZE, SILVER, GOLD]
    assert tables[SILVER]["rows"] == ORDERS * 12
    assert tables[BRONZE]["newest"] == "2026-09-01T00:00:00Z"


def test_status_of_the_newest_is_the_status(days: Simulated, run: Run) -> None:
    """The status of the newest release has heads and ledgers, whether the release is named or not."""
    plain = json.loads(run("status", "--format", "json"))
    assert "ops.runs" in {row["table"] for row in plain}
    for which in (("--release", "3"), ("--as-of", "2030-01-01")):
        assert json.loads(run("status", *which, "--format", "json")) == plain


def test_an_export_reads_the_named_release(days: Simulated, run: Run) -> None:
    """An export reads the same rows if the release is named by number, tag or time."""
    query = f"select id, text, month from {SILVER} order by all"
    exports = [run("sql", query, "--format", "csv", *which) for which in ((), ("--as-of", "first"))]
    counts = [len(list(csv.DictReader(io.StringIO(export)))) for export in exports]
    assert counts == [ORDERS * 12 + 6, ORDERS * 12]
    for which in (("--release", "1"), ("--as-of", "1"), ("--as-of", "2026-09-01T03:00+03:00")):
        assert run("sql", query, "--format", "csv", *which) == exports[1]


@pytest.mark.parametrize(
    ("form", "expected"),
    [("csv", "a\n1\nb\n2\n"), ("json", '[\n {\n    "a": 1\n }\n]\n[\n {\n    "b": 2\n }\n]\n')],
)
def test_every_statement_of_a_query_prints_its_rows(
    days: Simulated, run: Run, form: str, expected: str
) -> None:
    """The statements run in order, and the first one that fails ends the query with one line."""
    output = run("sql", "select 1 as a; set threads = 1; select 2 as b;", "--format", form)
    assert output.replace("  {", " {").replace("  }", " }") == expected
    assert output.index("a") < output.index("b")
    with pytest.raises(UsageError, match="nothing_there does not exist") as refused:
        run("sql", "select 1 as a; from nothing_there; select 2 as b")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("endless", ENDLESSLY)
def test_an_interrupted_query_leaves_the_session_as_it_is(lake: Lake, tmp_path: Path, endless: str) -> None:
    """Ctrl-C ends the query with a message; the prompt appears again, and temporary tables still exist."""
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
    """Ctrl-C ends a query of the command line or of a pipe with one line and exit code 130."""
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
            message = child.stderr.read()
        assert (child.returncode, message.strip()) == (130, "interrupted; finished work is kept")


@pytest.mark.parametrize("command", [("status",), ("sql", "select 1")])
def test_an_unknown_release_is_refused(days: Simulated, run: Run, command: tuple[str, ...]) -> None:
    """An unknown number, release 0 included, and an empty text are refused."""
    for number in ("0", "4"):
        with pytest.raises(NoRelease, match=f"release {number} was never published, the newest is 3"):
            run(*command, "--release", number)
    with pytest.raises(UsageError, match="names no release"):
        run(*command, "--as-of", "")


def test_a_release_without_its_files_is_one_line(days: Simulated, run: Run) -> None:
    """If files of a release are deleted, the message names the table, the version and the reason."""
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
