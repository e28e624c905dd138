"""Session: SQL over one release, from a terminal, a pipe, or a program."""

import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from lake.cli.output import as_csv
from lake.cli.prompt import is_whole, run_prompt, run_script
from lake.delta.tables import open_table
from lake.errors import ConfigError, UsageError
from lake.query.session import Connection, connect, fetch, open_session, scan
from lake.releases.release import find_release
from lake.settings import LakeSettings
from tests.support.built_lake import FEW, Shop, ingested_shop
from tests.support.running import launched

# Makes the terminal the controlling one, so that keys become signals, and gives Ctrl-C its usual effect:
# a process that a shell started in the background ignores it.
TERMINAL = """
import fcntl, signal, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.default_int_handler)
"""
PROGRAM = """
import sys
from lake.paths import Lake
from lake.cli.prompt import run_prompt
from lake.releases.release import find_release
from lake.cli.output import show
from lake.query.session import open_session
from lake.settings import LakeSettings
lake = Lake(root=sys.argv[1])
run_prompt(open_session(lake, LakeSettings(), find_release(lake, None)), lambda rows: show(rows, "csv"))
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop with one release, which no test changes."""
    shop = ingested_shop(tmp_path_factory.mktemp("queried") / "lake", models=FEW)
    shop.publish()
    return shop


@pytest.fixture
def session(shop: Shop, engine: LakeSettings) -> Iterator[Connection]:
    """An open session over the shop's release."""
    with open_session(shop.lake, engine, find_release(shop.lake, None)) as connection:
        yield connection


def typed(shop: Shop, home: Path, *lines: str) -> str:
    """Type each line when the prompt appears; return the whole text of the terminal."""
    ours, theirs = pty.openpty()
    environ = {**os.environ, "XDG_STATE_HOME": str(home), "TERM": "dumb"}
    environ["PYTHONPATH"] = str(Path(__file__).parents[3])
    command = [sys.executable, "-c", TERMINAL + PROGRAM, shop.lake.root]
    with launched(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ, start_new_session=True
    ) as child:
        os.close(theirs)
        screen = ""
        for line in lines:
            screen += read_until(ours, "> ")
            press(ours, line)
        screen += read_until(ours, None)
        os.close(ours)
    assert child.returncode == 0, screen
    return screen


def press(terminal: int, keys: str) -> None:
    """Press the keys; repeat Ctrl-C until the program answers.

    If a signal arrives after the prompt was printed and before Python waits for keys, Python
    handles it only at the next key.
    """
    os.write(terminal, keys.encode())
    for _ in range(100):
        if keys != "\x03" or select.select([terminal], [], [], 2)[0]:
            return
        os.write(terminal, keys.encode())
    pytest.fail("Ctrl-C has no effect")


def read_until(terminal: int, end: str | None) -> str:
    """Return the output up to ``end``, or until the program ends; fail if no output arrives."""
    output = b""
    while end is None or not output.endswith(end.encode()):
        ready, _, _ = select.select([terminal], [], [], 300)
        assert ready, f"no output arrived after {output.decode()!r}"
        try:
            part = os.read(terminal, 4096)
        except OSError:  # Linux raises it if the other end is closed
            break
        if not part:
            break
        output += part
    return output.decode().replace("\r\n", "\n")


def test_a_session_names_its_release(session: Connection) -> None:
    """``ops.current_release`` has one row with the open release, and the ledgers are there too."""
    rows = fetch(session, "select release, kind from ops.current_release").to_pylist()
    assert rows == [{"release": 1, "kind": "full"}]
    assert fetch(session, "select count(*) as n from ops.releases").to_pylist() == [{"n": 1}]


@pytest.mark.parametrize("spill", ["a file", "a file/spill", "no folder/spill", "/proc/none"])
def test_a_spill_folder_that_can_not_be_written_is_refused(tmp_path: Path, spill: str) -> None:
    """The check comes before any query and leaves nothing behind."""
    (tmp_path / "a file").touch()
    with pytest.raises(
        ConfigError, match=r"^\[lake\] spill: .* can't be written: .*; name a folder"
    ) as refused:
        connect(LakeSettings(spill=str(tmp_path / spill)))
    assert refused.value.exit_code == 2
    assert [file.name for file in tmp_path.iterdir()] == ["a file"]
    connect(LakeSettings(spill=str(tmp_path / "spill"))).close()


def test_another_thread_reads_instants_as_utc_too(session: Connection) -> None:
    """A second connection to the same DuckDB uses UTC in any time zone of the machine."""
    with session.cursor() as other:
        assert other.execute("select current_setting('timezone')").fetchone() == ("UTC",)


def test_some_files_of_a_table_are_read(shop: Shop, engine: LakeSettings) -> None:
    """A scan of all files has the table's rows, and a scan of no files has its columns and no rows."""
    table = open_table(shop.lake, "gold.revenue_daily")
    files = [file.uri for file in table.files()]
    with connect(engine) as connection:
        parts = [fetch(connection, scan(connection, table, [file])).num_rows for file in files]
        assert sum(parts) == fetch(connection, scan(connection, table)).num_rows == 4
        none = fetch(connection, scan(connection, table, []))
        assert (none.num_rows, none.schema.names) == (0, table.schema.names)


def test_typed_statements_are_answered_one_by_one(shop: Shop, tmp_path: Path) -> None:
    """A statement may span lines, an error does not end the session, and the history is saved."""
    lines = [
        "select 1 +",
        "41 as answer;",
        "selec;",
        ".tables",
        ".release",
        "select count(*) as n from gold.revenue_daily;",
    ]
    screen = typed(shop, tmp_path, *(f"{line}\n" for line in lines), ".quit\n")
    assert "\nanswer\n42\n" in screen
    assert 'error: Parser Error: syntax error at or near "selec"\n' in screen
    assert "\ngold.revenue_daily," in screen
    assert "\nrelease,published_at,kind\n1," in screen
    assert screen.index("selec;") < screen.index("\nn\n4\n")
    assert "Traceback" not in screen
    history = (tmp_path / "keylake" / "sql_history").read_text()
    assert "41 as answer;" in history.replace("\\040", " ")


def test_end_of_input_and_interrupts_end_no_session_badly(shop: Shop, tmp_path: Path) -> None:
    """Ctrl-C drops the typed text, and Ctrl-D ends the session."""
    screen = typed(shop, tmp_path, "select 'half\n", "\x03", "select 7 as whole;\n", "\x04")
    assert "\nwhole\n7\n" in screen
    assert "Traceback" not in screen


def test_a_pipe_is_read_to_its_end(session: Connection, shop: Shop) -> None:
    """Every statement is answered, and the first that fails ends the script with one line."""
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", PROGRAM, shop.lake.root]
    done = subprocess.run(
        command, input="select 1 as a; select 2 as b", env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout == "a\n1\nb\n2\n"
    script = "select 3 as c; from nothing_there; select 4"
    shown: list[str] = []
    with pytest.raises(UsageError, match="nothing_there does not exist") as refused:
        run_script(session, script, lambda rows: shown.append(as_csv(rows)))
    assert "\n" not in str(refused.value)
    assert shown == ["c\n3\n"]


def test_definitions_print_nothing_and_empty_answers_their_columns(session: Connection) -> None:
    """A query without rows has columns, and a definition has no answer."""
    shown: list[pa.Table] = []
    run_script(session, "create temp table t (id int); set threads = 1; select id from t", shown.append)
    assert [rows.schema.names for rows in shown] == [["id"]]


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("select 1;", True),
        ("select 1; -- the end", True),
        ("select 1", False),
        ("select 'a;", False),
        ("select 'a;\nb';", True),
        ('select "a;', False),
        ("select $$ ;", False),
        ("/* a ;", False),
        ("-- a ;", False),
        ("select 'ґанок' as \"їжа\";", True),
        ("select 'ґанок;", False),
        (";", True),
    ],
)
def test_a_statement_ends_with_its_semicolon(text: str, whole: bool) -> None:
    """A semicolon in a string, a name or a comment does not end a statement."""
    assert is_whole(text) is whole


def test_without_a_terminal_nothing_waits_for_keys(
    session: Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An empty pipe is read as an empty script."""
    with (tmp_path / "empty").open("w+") as empty:
        monkeypatch.setattr(sys, "stdin", empty)
        run_prompt(session, lambda rows: pytest.fail("nothing was asked"))
    assert duckdb.tokenize("") == []
