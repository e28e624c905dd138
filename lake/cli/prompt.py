"""Prompt: SQL statements from a terminal, run one by one, or from a pipe, read to its end."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import duckdb
import pyarrow as pa

from lake.cli.main import complain, plain, store_refusal
from lake.errors import UsageError
from lake.query.guard import guarded
from lake.query.session import CURRENT, Connection, fetch

Show = Callable[[pa.Table], None]
FIRST, MORE = "sql> ", "...> "
QUIT = (".quit", ".exit", "quit", "exit")
HELP = "SQL ends with a semicolon. .tables lists the tables, .release shows the open release, .quit ends."
TABLES = """
select schema_name || '.' || view_name as "table", column_count as columns
from duckdb_views()
where not internal and schema_name <> 'main'
order by 1
"""
COMMANDS = {".tables": TABLES, ".release": f"from {CURRENT}"}


def run_prompt(connection: Connection, show: Show) -> None:
    """Run the statements that are typed if stdin is a terminal, or all statements of a pipe.

    Raises UsageError at the first statement of a pipe that fails.
    """
    if not sys.stdin.isatty():
        run_script(connection, sys.stdin.read(), show)
        return
    print(HELP)
    with history():
        while (text := read_statement()) is not None:
            answer(connection, text, show)


def run_script(connection: Connection, text: str, show: Show) -> None:
    """Run the statements in order and show the rows of each.

    Raises UsageError if one fails, or could write inside a lake (see ``lake.query.guard``).
    """
    try:
        for statement in connection.extract_statements(text):
            rows = fetch_or_stop(connection, statement.query)
            # In DuckDB the result of a definition has a column too, but no rows.
            if rows.num_rows or statement.type == duckdb.StatementType.SELECT:
                show(rows)
    except duckdb.Error as error:
        raise UsageError(one_line(error)) from None


def fetch_or_stop(connection: Connection, query: str) -> pa.Table:
    """Return the rows of a query. Ctrl-C ends the query, and then has its usual effect.

    DuckDB checks for signals itself, but only between its tasks, and one task may be a long join.
    """
    with deferred_signal(signal.SIGINT) as signals, ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: fetch(connection, guarded(connection, query)))
        while not wait([running], timeout=0.1).done:
            if signals:  # repeated, because an interrupt before the start of the query has no effect
                connection.interrupt()
    return running.result()


@contextlib.contextmanager
def deferred_signal(number: signal.Signals) -> Iterator[list[int]]:
    """Yield a list of the signals that arrive; if the signal has a handler, it runs only at the end."""
    signals: list[int] = []
    handler = signal.getsignal(number)
    if callable(handler):
        signal.signal(number, lambda number, _: signals.append(number))
    try:
        yield signals
    finally:
        signal.signal(number, handler)
        if signals:
            signal.raise_signal(number)


def answer(connection: Connection, text: str, show: Show) -> None:
    """Run a statement or a command of the prompt. An error prints one line, and the session continues."""
    try:
        if text.startswith("."):
            query = COMMANDS.get(text.rstrip(";").strip())
            print(HELP) if query is None else run_script(connection, query, show)
        else:
            run_script(connection, text, show)
    except UsageError as error:
        complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)


def read_statement() -> str | None:
    """Read lines up to the end of a statement; return None at the end of the session.

    Ctrl-C discards the lines typed so far.
    """
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
    """True if the text ends with a semicolon that is not in a string or a comment. Pure."""
    starts = [start for start, kind in duckdb.tokenize(text) if kind != duckdb.token_type.comment]
    # DuckDB counts bytes.
    return bool(starts) and text.encode()[starts[-1] :][:1] == b";"


def one_line(error: Exception) -> str:
    """Return the message of a DuckDB error in one line, without the excerpt of the query."""
    return store_refusal(str(error)) or plain(str(error).split("\n\n")[0])


@contextlib.contextmanager
def history() -> Iterator[None]:
    """Give the prompt line editing, and the history of earlier sessions."""
    try:
        import readline  # Python may be built without it
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
        # If the file can't be written, only the history is lost.
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            readline.write_history_file(file)
