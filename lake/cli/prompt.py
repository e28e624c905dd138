"""Prompt: SQL typed at a terminal, statement by statement, or read from a pipe to its end."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import duckdb
import pyarrow as pa

from lake.cli.main import plain, store_refusal
from lake.errors import UsageError
from lake.query.session import CURRENT, Connection, fetch

Show = Callable[[pa.Table], None]
FIRST, MORE = "sql> ", "...> "
QUIT = (".quit", ".exit", "quit", "exit")
HELP = "SQL ends with a semicolon. .tables lists the tables, .release says which release is open, .quit ends."
TABLES = """
select schema_name || '.' || view_name as "table", column_count as columns
from duckdb_views()
where not internal and schema_name <> 'main'
order by 1
"""
COMMANDS = {".tables": TABLES, ".release": f"from {CURRENT}"}


def run_prompt(connection: Connection, show: Show) -> None:
    """Answer what is typed, where stdin is a terminal; otherwise run it to its end.

    From a pipe the first statement that fails ends it: raises UsageError.
    """
    if not sys.stdin.isatty():
        run_script(connection, sys.stdin.read(), show)
        return
    print(HELP)
    with history():
        while (text := read_statement()) is not None:
            answer(connection, text, show)


def run_script(connection: Connection, text: str, show: Show) -> None:
    """Run the statements one after another and show each one's rows. Raises UsageError."""
    try:
        for statement in connection.extract_statements(text):
            rows = fetch_or_stop(connection, statement.query)
            # What defines something has a column too in DuckDB, and nothing in it.
            if rows.num_rows or statement.type == duckdb.StatementType.SELECT:
                show(rows)
    except duckdb.Error as error:
        raise UsageError(line(error)) from None


def fetch_or_stop(connection: Connection, query: str) -> pa.Table:
    """Return a query's rows. Ctrl-C ends the query first, and does then what it does.

    DuckDB looks for it itself, but only between the parts of its work, and a join may be one of them.
    """
    with put_off(signal.SIGINT) as came, ThreadPoolExecutor(1) as beside:
        running = beside.submit(fetch, connection, query)
        while not wait([running], timeout=0.1).done:
            if came:  # said again and again: what comes before a query has begun is lost on it
                connection.interrupt()
    return running.result()


@contextlib.contextmanager
def put_off(number: signal.Signals) -> Iterator[list[int]]:
    """Give what lists a signal that comes meanwhile; where somebody handles it, it is raised at the end."""
    came: list[int] = []
    handler = signal.getsignal(number)
    if callable(handler):
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield came
    finally:
        signal.signal(number, handler)
        if came:
            signal.raise_signal(number)


def answer(connection: Connection, text: str, show: Show) -> None:
    """Run what was typed; what goes wrong is one line, and the session goes on."""
    try:
        if text.startswith("."):
            found = COMMANDS.get(text.rstrip(";").strip())
            print(HELP) if found is None else run_script(connection, found, show)
        else:
            run_script(connection, text, show)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)


def read_statement() -> str | None:
    """Read lines up to one that ends a statement; None at the end. Ctrl-C drops what was typed so far."""
    lines: list[str] = []
    while True:
        try:
            lines.append(input(MORE if lines else FIRST))
        except EOFError:
            print()
            return None
        except KeyboardInterrupt:
            print()
            lines.clear()
            continue
        text = "\n".join(lines).strip()
        if text.rstrip(";").strip() in QUIT:
            return None
        if not text:
            lines.clear()
        elif text.startswith(".") or is_whole(text):
            return text


def is_whole(text: str) -> bool:
    """True where the text ends with a semicolon that ends a statement: not in a string or a comment. Pure."""
    tokens = [place for place, kind in duckdb.tokenize(text) if kind != duckdb.token_type.comment]
    return bool(tokens) and text[tokens[-1]] == ";"


def line(error: Exception) -> str:
    """Return DuckDB's complaint in one line, without the picture of the query."""
    return store_refusal(str(error)) or plain(str(error).split("\n\n")[0])


@contextlib.contextmanager
def history() -> Iterator[None]:
    """Give the prompt line editing, and what was typed there in earlier sessions."""
    try:
        import readline  # a Python may be built without it
    except ImportError:
        yield
        return
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    file = state / "keylake" / "sql_history"
    with contextlib.suppress(OSError):
        readline.read_history_file(file)
    readline.set_history_length(1000)
    try:
        yield
    finally:
        # A place that can't be written costs the history, not the session.
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            readline.write_history_file(file)
