"""Plan: what DuckDB's own parser and planner say about a statement, without running it."""

import re

import duckdb

from lake.errors import UsageError

# How a plan names the writing of a file, and the run of a statement that the plan does not show.
WRITING = re.compile(r'"name": "\w*(COPY_TO_FILE|JSON_EXECUTE)\w*"')
# The type of a statement that DuckDB runs as several, such as a pivot without a list of its columns.
SEVERAL = "MULTI"


def types_of(connection: duckdb.DuckDBPyConnection, text: str) -> list[str]:
    """Return the types of the statements in a text, such as SELECT; empty for an unknown type.

    Raises duckdb.Error if the text is not SQL.
    """
    return [type_of(statement) for statement in connection.extract_statements(text)]


def type_of(statement: duckdb.Statement) -> str:
    """Return a statement's type; empty if DuckDB's Python client does not know it."""
    try:
        return str(statement.type.name)
    except ValueError:
        return ""


def is_query(connection: duckdb.DuckDBPyConnection, text: str) -> bool:
    """Return True if DuckDB parses the text as exactly one query, without a semicolon."""
    try:
        types = types_of(connection, text)
    except duckdb.Error:
        return False
    return types in (["SELECT"], [SEVERAL]) and not text.rstrip().endswith(";")


def refuse_writes(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Raise UsageError if DuckDB's plan of a statement writes a file.

    DuckDB shows the plan of the last of several statements after it ran the others. So such a
    statement must not even contain the word.
    """
    is_several = SEVERAL in types_of(connection, query)
    if not (is_several and "copy" in query.lower()):
        plans = connection.execute(f"explain (format json) {query}").fetchall()
        if not any(WRITING.search(plan) for _, plan in plans):
            return
    raise UsageError(
        "a COPY inside another statement is not allowed here; write it as a statement of its own"
    )
