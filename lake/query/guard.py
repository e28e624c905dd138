"""Guard: what the SQL of a person may change. It can't write inside a lake, or change a protected setting.

DuckDB itself locks the settings. Each statement is then checked by its kind: one that writes files
is composed again (see ``lake.query.compose``), and DuckDB's plan of any other one is searched for a
COPY, because a WITH may contain one. A statement of a kind that is not listed here is refused.
"""

import itertools
from collections.abc import Callable

import duckdb

from lake.errors import UsageError
from lake.query import quote
from lake.query.compose import composed_attach, composed_copy, composed_export
from lake.query.plan import SEVERAL, is_query, refuse_writes, types_of
from lake.query.tokens import Token, closing_of, rest_of, split

# The settings that a session may change: none of them names a file, a server or a rule of access.
OPEN_SETTINGS = (
    "threads",
    "memory_limit",
    "max_execution_time",
    "timezone",
    "calendar",
    "default_order",
    "default_null_order",
    "default_collation",
    "preserve_insertion_order",
    "integer_division",
    "pivot_limit",
)
# DuckDB's types of statements that only read, or change what the session has in memory or attached.
PLANNED = ("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE_INTO", "CREATE", "EXECUTE", SEVERAL)
WITHOUT_PLAN = ("SET", "VARIABLE_SET", "TRANSACTION", "DROP", "ALTER", "VACUUM", "ANALYZE", "DETACH", "CALL")
# First words of a statement that DuckDB runs as several.
PIVOTS = ("pivot", "unpivot", "select", "from", "with", "create", "insert", "(")
PRAGMA_WORDS = """
    show_tables show_tables_expanded show_databases show table_info database_list database_size version
    platform functions collations storage_info metadata_info user_agent extension_versions
"""
PRAGMAS = frozenset(PRAGMA_WORDS.split())
# A function that runs SQL which no plan shows.
HIDDEN = "json_execute_serialized_sql"


def lock(connection: duckdb.DuckDBPyConnection) -> None:
    """Lock the settings of a connection, except OPEN_SETTINGS, until it is closed."""
    connection.execute(f"set global allowed_configs = [{quote.literals(OPEN_SETTINGS)}]")
    connection.execute("set global lock_configuration = true")


def guarded(connection: duckdb.DuckDBPyConnection, query: str) -> str:
    """Return the SQL to run in place of one statement.

    Raises UsageError if the statement could write inside a lake, and duckdb.Error if it is not SQL.
    """
    [kind], tokens = types_of(connection, query), split(query)
    first = tokens[0].word if tokens else ""
    refuse_hidden(query, tokens)
    if is_simple(kind, tokens):
        return query
    if first in COMPOSED and kind in (first.upper(), SEVERAL):
        return COMPOSED[first](connection, query, tokens)
    if kind not in PLANNED or (kind == SEVERAL and first not in PIVOTS):
        raise UsageError(
            f"{first.upper()} is not allowed here, because it could change a lake;"
            " use your own DuckDB with the lake's lake.duckdb"
        )
    refuse_writes(connection, query)
    return query


def is_simple(kind: str, tokens: list[Token]) -> bool:
    """Return True for a statement that has no plan, and changes only what is attached already."""
    words = [token.word for token in tokens[:3]]
    return kind in WITHOUT_PLAN or words[:1] == ["truncate"] or words == ["copy", "from", "database"]


def refuse_hidden(query: str, tokens: list[Token]) -> None:
    """Raise UsageError for a function that runs a text as SQL: the text may be made while it runs."""
    # A function may be written with its schema and database: main.query, "main".query.
    words = [token.word.rpartition(".")[2] for token in tokens]
    if HIDDEN in query.lower() or ("query", "(") in itertools.pairwise(words):
        raise UsageError("a function that runs a text as SQL is not allowed here; write the query itself")


def explained(connection: duckdb.DuckDBPyConnection, query: str, tokens: list[Token]) -> str:
    """Return an EXPLAIN, which may run its statement, of the guarded statement."""
    index = 2 if tokens[1:] and tokens[1].word in ("analyze", "analyse") else 1
    # A bracket begins options, or the query.
    if (
        tokens[index:]
        and tokens[index].word == "("
        and not is_query(connection, rest_of(query, tokens, index))
    ):
        index = (closing_of(tokens, index) or index) + 1
    prefix = " ".join(token.word for token in tokens[:index])
    return f"{prefix} {guarded(connection, rest_of(query, tokens, index))}"


def prepared(connection: duckdb.DuckDBPyConnection, query: str, tokens: list[Token]) -> str:
    """Return a PREPARE of a statement that writes no file; EXECUTE checks its plan."""
    inner = rest_of(query, tokens, 3)
    types = types_of(connection, inner) if tokens[2:] and tokens[2].word == "as" else []
    is_planned = len(types) == 1 and types[0] in PLANNED
    if not is_planned or (types == [SEVERAL] and "copy" in inner.lower()):
        raise UsageError("PREPARE takes a query here: PREPARE name AS select …; run a COPY directly")
    return f"prepare {quote.name(tokens[1].name)} as {inner}"


def known_pragma(_: duckdb.DuckDBPyConnection, query: str, tokens: list[Token]) -> str:
    """Return a PRAGMA that only reads. Raises UsageError for another one."""
    name = tokens[1].name.lower() if tokens[1:] else ""
    if name not in PRAGMAS:
        raise UsageError(f"PRAGMA {name} is not allowed here; use one of {', '.join(sorted(PRAGMAS))}")
    return query


Compose = Callable[[duckdb.DuckDBPyConnection, str, list[Token]], str]
# How to compose a statement that may write a file, or that contains another statement, by its first word.
COMPOSED: dict[str, Compose] = {
    "copy": composed_copy,
    "export": composed_export,
    "attach": composed_attach,
    "explain": explained,
    "prepare": prepared,
    "pragma": known_pragma,
}
