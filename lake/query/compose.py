"""Compose: statements that write a file (COPY, EXPORT, ATTACH), built again from their checked parts.

What runs is not the typed text. It has a query that DuckDB parses as one query, a path that was
checked, and options that can't name another path. So no spelling of a statement can write elsewhere:
if its text is split wrongly, DuckDB refuses what is composed of it.
"""

import duckdb

from lake.errors import UsageError
from lake.query import quote
from lake.query.plan import is_query, refuse_writes
from lake.query.tokens import Token, rest_of, values_of
from lake.query.writable import readable, writable

COPY = "COPY (select …) TO 'file' (option value, …)"
EXPORT = "EXPORT DATABASE 'folder' (option value, …)"
ATTACH = "ATTACH 'file' AS name (READ_ONLY)"
# Options that can't name a file.
COPY_WORDS = """
    format header delimiter delim sep quote escape null nullstr force_quote dateformat timestampformat
    date_format timestamp_format encoding prefix suffix array compression compression_level codec
    row_group_size row_group_size_bytes row_groups_per_file parquet_version preserve_order
    string_dictionary_page_size_limit dictionary_size_limit bloom_filter_false_positive_ratio
    overwrite overwrite_or_ignore append partition_by write_partition_columns per_thread_output
    file_size_bytes use_tmp_file return_files return_stats write_empty_file
"""
ATTACH_WORDS = """
    read_only readonly read_write readwrite type storage_version block_size row_group_size
    encryption_key encryption_cipher
"""
COPY_OPTIONS, ATTACH_OPTIONS = frozenset(COPY_WORDS.split()), frozenset(ATTACH_WORDS.split())
# What may stand between ATTACH and the path.
ATTACH_PREFIXES = ("", "database", "if not exists", "database if not exists", "or replace")
# Options that contradict READ_ONLY.
WRITING = ("read_write", "readwrite", "readonly")
# Paths of a database in memory. DuckDB takes any other one that begins so for the name of a file.
IN_MEMORY = ("", ":memory:")


def composed_copy(connection: duckdb.DuckDBPyConnection, query: str, tokens: list[Token]) -> str:
    """Return a COPY of a query or a table to a path, or of a file into a table."""
    end = next((i for i, token in enumerate(tokens) if not token.depth and token.word in ("to", "from")), 0)
    source, rest = tokens[1:end], tokens[end + 1 :]
    text = rest_of(query, source, 0)
    selected = text[1:-1] if text.startswith("(") else select_of(text, source)
    if not text or not is_query(connection, selected):
        raise UsageError(f"the COPY is not understood; write {COPY}")
    if tokens[end].word == "from":
        return f"copy {text}\nfrom {rest_of(query, rest, 0)}"
    refuse_writes(connection, selected)
    path, options = target_of(rest, COPY_OPTIONS, COPY)
    return f"copy (\n{selected}\n) to {quote.literal(writable(path))}{listed(options)}"


def select_of(text: str, source: list[Token]) -> str:
    """Return the query of the table, and of its columns if there are some, that a COPY names."""
    opening = next((token.start - source[0].start for token in source if token.word == "("), len(text))
    return f"select {text[opening + 1 : -1] if text[opening:] else '*'} from {text[:opening]}"


def composed_export(_: duckdb.DuckDBPyConnection, __: str, tokens: list[Token]) -> str:
    """Return an EXPORT DATABASE to a folder."""
    rest, name = tokens[2:], ""
    if len(rest) > 2 and rest[1].word == "to":
        rest, name = rest[2:], f"{quote.name(rest[0].name)} to "
    path, options = target_of(rest, COPY_OPTIONS, EXPORT)
    return f"export database {name}{quote.literal(writable(path))}{listed(options)}"


def composed_attach(_: duckdb.DuckDBPyConnection, __: str, tokens: list[Token]) -> str:
    """Return an ATTACH of a database file; with READ_ONLY it may be inside a lake."""
    start = next((index for index, token in enumerate(tokens) if token.is_text), len(tokens))
    prefix = " ".join(token.word for token in tokens[1:start])
    if prefix not in ATTACH_PREFIXES:
        raise UsageError(f"the ATTACH is not understood; write {ATTACH}")
    rest, name = tokens[start + 1 :], ""
    if len(rest) > 1 and rest[0].word == "as":
        rest, name = rest[2:], f" as {quote.name(rest[1].name)}"
    path, options = target_of([*tokens[start : start + 1], *rest], ATTACH_OPTIONS, ATTACH)
    if path not in IN_MEMORY:
        is_read_only = options.get("read_only") in ("", "true") and options.keys().isdisjoint(WRITING)
        path = readable(path) if is_read_only else writable(path, instead="attach it with (READ_ONLY)")
        # DuckDB writes the log of such a database to another path: a.wal?/b.db for a?/b.db.
        if "?" in path and not is_read_only:
            raise UsageError(f"{path!r} contains a question mark; use another name")
    return f"attach {prefix} {quote.literal(path)}{name}{listed(options)}"


def target_of(tokens: list[Token], allowed: frozenset[str], form: str) -> tuple[str, dict[str, str]]:
    """Return the path and the options after TO. Raises UsageError if they have another form."""
    if not tokens or not tokens[0].is_text:
        raise UsageError(f"the path is not a text in quotes; write {form}")
    rest = tokens[2:] if len(tokens) > 1 and tokens[1].word == "with" else tokens[1:]
    options = values_of(rest) if rest else {}
    if options is None:
        raise UsageError(f"the options are not understood; write {form}")
    if unknown := next((name for name in options if name not in allowed), None):
        raise UsageError(
            f"the option {unknown} is not allowed here, because it may name a file; leave it out"
        )
    return tokens[0].value, options


def listed(options: dict[str, str]) -> str:
    """Return the options in brackets; empty if there are none."""
    return f" ({', '.join(f'{name} {value}'.strip() for name, value in options.items())})" if options else ""
