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
from lake.delta.table import open_table
from lake.errors import ConfigError, UsageError
from lake.query.session import Connection, connect, fetch, open_session, scan
from lake.releases.release import find_release
from lake.settings import LakeSettings
from tests.support.built_lake import FEW, Shop, opened
from tests.support.running import launched

# So that keys become signals, as they do for whoever sits there.
TERMINAL = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
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
    """A shop with one release; nobody changes it."""
    found = opened(tmp_path_factory.mktemp("asked") / "lake", models=FEW)
    found.published()
    return found


@pytest.fixture
def session(shop: Shop, engine: LakeSettings) -> Iterator[Connection]:
    """Its release, open."""
    with open_session(shop.lake, engine, find_release(shop.lake, None)) as connection:
        yield connection


def typed(shop: Shop, home: Path, *lines: str) -> str:
    """Type at a terminal, each line when a prompt asks for it; return what stood there at the end."""
    ours, theirs = pty.openpty()
    environ = {**os.environ, "XDG_STATE_HOME": str(home), "TERM": "dumb"}
    environ["PYTHONPATH"] = str(Path(__file__).parents[3])
    command = [sys.executable, "-c", TERMINAL + PROGRAM, shop.lake.root]
    with launched(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ, start_new_session=True
    ) as child:
        os.close(theirs)
        shown = ""
        for line in lines:
            shown += read_until(ours, "> ")
            press(ours, line)
        shown += read_until(ours, None)
        os.close(ours)
    assert child.returncode == 0, shown
    return shown


def press(terminal: int, keys: str) -> None:
    """Press the keys; Ctrl-C again until it is answered.

    Between the prompt's last letter and Python's waiting for keys, a signal is seen at the next key only.
    """
    os.write(terminal, keys.encode())
    while keys == "\x03" and not select.select([terminal], [], [], 2)[0]:
        os.write(terminal, keys.encode())


def read_until(terminal: int, end: str | None) -> str:
    """Return what is shown up to ``end``, or until the program is gone; fails when nothing comes."""
    shown = b""
    while end is None or not shown.endswith(end.encode()):
        ready, _, _ = select.select([terminal], [], [], 300)
        assert ready, f"nothing more came after {shown.decode()!r}"
        try:
            part = os.read(terminal, 4096)
        except OSError:  # how Linux says that nobody is at the other end any more
            break
        if not part:
            break
        shown += part
    return shown.decode().replace("\r\n", "\n")


def test_a_session_says_which_release_it_is(session: Connection) -> None:
    """One row; and every ledger there is."""
    rows = fetch(session, "select release, kind from ops.current_release").to_pylist()
    assert rows == [{"release": 1, "kind": "full"}]
    assert fetch(session, "select count(*) as n from ops.releases").to_pylist() == [{"n": 1}]


@pytest.mark.parametrize("spill", ["a file", "a file/spill", "no folder/spill", "/proc/none"])
def test_a_place_to_spill_to_that_can_not_be_written_is_refused(tmp_path: Path, spill: str) -> None:
    """Before the work begins; a folder that can be made is not made before it is needed."""
    (tmp_path / "a file").touch()
    with pytest.raises(
        ConfigError, match=r"^\[lake\] spill: .* can't be written: .*; name a folder"
    ) as refused:
        connect(LakeSettings(spill=str(tmp_path / spill)))
    assert refused.value.exit_code == 2
    connect(LakeSettings(spill=str(tmp_path / "spill"))).close()
    assert [file.name for file in tmp_path.iterdir()] == ["a file"]


def test_another_thread_reads_instants_as_utc_too(session: Connection) -> None:
    """Its connection to the same DuckDB, wherever the machine is."""
    with session.cursor() as other:
        assert other.execute("select current_setting('timezone')").fetchone() == ("UTC",)


def test_some_files_of_a_table_are_read(shop: Shop, engine: LakeSettings) -> None:
    """All of them are the table; none has its columns and no rows."""
    table = open_table(shop.lake, "gold.revenue_daily")
    files = [file.uri for file in table.files()]
    with connect(engine) as connection:
        parts = [fetch(connection, scan(connection, table, [file])).num_rows for file in files]
        assert sum(parts) == fetch(connection, scan(connection, table)).num_rows == 4
        none = fetch(connection, scan(connection, table, []))
        assert (none.num_rows, none.schema.names) == (0, table.schema.names)


def test_typed_statements_are_answered_one_by_one(shop: Shop, tmp_path: Path) -> None:
    """Over several lines, with an error in between, until quit; and remembered."""
    lines = [
        "select 1 +",
        "41 as answer;",
        "selec;",
        ".tables",
        ".release",
        "select count(*) as n from gold.revenue_daily;",
    ]
    shown = typed(shop, tmp_path, *(f"{line}\n" for line in lines), ".quit\n")
    assert "\nanswer\n42\n" in shown
    assert 'error: Parser Error: syntax error at or near "selec"\n' in shown
    assert "\ngold.revenue_daily," in shown
    assert "\nrelease,published_at,kind\n1," in shown
    assert shown.index("selec;") < shown.index("\nn\n4\n")
    assert "Traceback" not in shown
    kept = (tmp_path / "keylake" / "sql_history").read_text()
    assert "41 as answer;" in kept.replace("\\040", " ")


def test_end_of_input_and_interrupts_end_no_session_badly(shop: Shop, tmp_path: Path) -> None:
    """Ctrl-C drops what was typed, Ctrl-D ends."""
    shown = typed(shop, tmp_path, "select 'half\n", "\x03", "select 7 as whole;\n", "\x04")
    assert "\nwhole\n7\n" in shown
    assert "Traceback" not in shown


def test_a_pipe_is_read_to_its_end(session: Connection, shop: Shop) -> None:
    """Every statement is answered; the first that fails ends it with one line."""
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


def test_definitions_show_nothing_and_empty_answers_their_columns(session: Connection) -> None:
    """A statement without rows is not a table without columns."""
    shown: list[pa.Table] = []
    run_script(session, "create temp table t (id int); set threads = 1; select id from t", shown.append)
    assert [rows.schema.names for rows in shown] == [["id"]]


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("select 1;", True),
        ("select 1; -- that was it", True),
        ("select 1", False),
        ("select 'a;", False),
        ("select 'a;\nb';", True),
        ('select "a;', False),
        ("select $$ ;", False),
        ("/* a ;", False),
        ("-- a ;", False),
        (";", True),
    ],
)
def test_a_statement_ends_with_its_semicolon(text: str, whole: bool) -> None:
    """Not with one in a string, a name or a comment."""
    assert is_whole(text) is whole


def test_without_a_terminal_nothing_waits_for_keys(
    session: Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An empty pipe is an empty script."""
    with (tmp_path / "empty").open("w+") as empty:
        monkeypatch.setattr(sys, "stdin", empty)
        run_prompt(session, lambda rows: pytest.fail("nothing was asked"))
    assert duckdb.tokenize("") == []
