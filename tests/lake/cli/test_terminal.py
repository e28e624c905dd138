"""Terminal: no text of the CRM, a query or a library steers the terminal of a command."""

import io
import os
import sys
from contextlib import suppress
from decimal import Decimal

import pytest
from rich.console import Console

from lake.cli.terminal import EscapingStream, escape_streams, unescaped, write_data
from lake.messages import in_line, printable
from lake.paths import Lake
from lake.releases.currency import sign
from lake.releases.uncounted import uncounted
from tests.support.running import environ_of, launched, run, succeed

TITLE, CLEAR, TURN = "\x1b]0;PWN\x07", "\x1b[2J", "\u202e"
STEERING = (TITLE, CLEAR, TURN, "\x1b]8;;http://e\x1b\\", "\x9b2J", "\x1bc", "\x08", "\u2066", "\ud83d")
# Statements that are typed at the prompt; chr(27) is ESC.
STATEMENTS = """
    select (chr(27) || ']0;PWN' || chr(7) || 'x')::int;
    select error(chr(27) || '[2J' || chr(8238));
    select chr(27) || '[2J' as name, 1 as "a";
    select {'a': chr(8238)} as nested, [chr(27) || ']0;PWN'] as listed;
    create table t (a int check (a > 1)); insert into t values (0);
    select * from query_of(chr(27));
"""


@pytest.mark.parametrize("text", STEERING)
def test_a_stream_escapes_whatever_is_printed(text: str) -> None:
    """Print, a traceback and click write to the streams of a command, which have no raw control character."""
    below = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", line_buffering=True)
    stream = EscapingStream(below)
    print(f"Ліс {text} 🙂\tok", file=stream)
    written = below.buffer.getvalue().decode()
    assert written == f"Ліс {printable(text)} 🙂\tok\n"
    assert written.isascii() or not any(text in written for text in STEERING)


def test_colours_of_rich_reach_the_terminal_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables and the bar write their own colours."""
    below = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    monkeypatch.setattr("sys.stdout", EscapingStream(below))
    Console(force_terminal=True, color_system="standard").print("[red]x")
    assert b"\x1b[31mx" in below.buffer.getvalue()


def test_data_for_a_program_is_unchanged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """CSV and JSON in a pipe have the values of the lake, although printed lines are escaped."""
    monkeypatch.setattr("sys.stdout", sys.stdout)
    monkeypatch.setattr("sys.stderr", sys.stderr)
    escape_streams()
    escape_streams()
    assert not isinstance(unescaped(sys.stdout), EscapingStream)
    write_data(f"a{CLEAR}\n")
    print(f"b{CLEAR}")
    assert capsys.readouterr().out == f"a{CLEAR}\nb\\x1b[2J\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("USD", "USD"),
        (f"{CLEAR}\r\nX{TURN}", "\\x1b[2J\\r\\nX\\u202e"),
        ("a\tb\u2028c", "a\\tb\\u2028c"),
        ("x" * 10_000, "x" * 80 + "… (10,000 characters)"),
        ("\x1b" * 81, ("\\x1b" * 81)[:80] + "… (81 characters)"),
    ],
)
def test_a_value_in_a_line_stays_in_it(text: str, line: str) -> None:
    """A value has no line end, steers nothing, and is cut."""
    assert in_line(text) == line


@pytest.mark.parametrize("code", [f"{CLEAR}\r\nX{TURN}", "x" * 10_000, "\n" * 50, "\x1b" * 11])
def test_any_text_may_be_the_code_of_a_currency(code: str) -> None:
    """What the page, the API and `status` state about uncounted orders is one short line."""
    assert sign("UAH") == "₴"
    assert sign("CHF") == "CHF"
    row = {
        "kind": "order",
        "rule": "currency",
        "currency": code,
        "records_count": 1,
        "amount": Decimal("5.00"),
    }
    line = uncounted([row], "UAH").line()
    assert line == printable(line)
    assert "\n" not in line
    assert len(line) < 120


@pytest.mark.process
def test_no_error_or_value_steers_a_terminal(lake: Lake) -> None:
    """Statements typed at the prompt print their rows and their errors escaped; the session continues."""
    ours, theirs = os.openpty()
    environ = environ_of(lake, TERM="dumb", HOME=lake.root, **{f"KEYLAKE_{CLEAR}": f"{TITLE}{TURN}"})
    with launched(
        [sys.executable, "-m", "lake", "sql"], env=environ, stdin=theirs, stdout=theirs, stderr=theirs
    ) as child:
        os.close(theirs)
        os.write(ours, "".join(f"{line.strip()}\n" for line in (*STATEMENTS.splitlines(), ".quit")).encode())
        shown = b""
        with suppress(OSError):  # the child has closed the terminal
            while more := os.read(ours, 65536):
                shown += more
        os.close(ours)
    assert child.returncode == 0
    text = shown.decode()
    assert text.count("\\x1b[2J") >= 3
    assert text.count("error: ") == 4
    assert "\\u202e" in text
    assert not [steering for steering in (TITLE, CLEAR, TURN, "\x1b]0") if steering in text]


def test_a_long_error_is_cut(lake: Lake) -> None:
    """An error that quotes a value of ten thousand characters is a line of limited length."""
    with pytest.raises(AssertionError) as failed:
        succeed(environ_of(lake), "lake", "sql", "select repeat('x', 100000)::int")
    line = str(failed.value).splitlines()[-1]
    assert line.startswith("error: ")
    assert line.endswith(" characters)")
    assert len(line) < 2_100


def test_a_pipe_gets_escaped_lines_and_plain_data(lake: Lake) -> None:
    """A line for a person is escaped in a pipe too, because the pipe may end at a terminal."""
    query = f"select '{CLEAR}' as name"
    assert CLEAR in succeed(environ_of(lake), "lake", "sql", "--format", "csv", query)
    assert "\\x1b[2J" in succeed(environ_of(lake), "lake", "sql", query)
    done = run(environ_of(lake), "lake", "status", f"--{CLEAR}")
    assert CLEAR not in done.stderr
    assert "error: " in done.stderr
