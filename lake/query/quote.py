"""Quote: names and values as SQL literals. Pure."""

from collections.abc import Iterable

# Keywords that DuckDB accepts as a column name only if they are quoted.
WORDS = """
    all analyse analyze and anti any array as asc asof asymmetric at authorization binary both by case
    cast check collate collation column concurrently constraint create cross default deferrable desc
    describe distinct do else end except false fetch for foreign freeze from full glob group having
    ilike in initially inner intersect into is isnull join lambda lateral leading left like limit
    natural not notnull null offset on only or order outer overlaps pivot pivot_longer pivot_wider
    placing positional primary qualify references returning right select semi show similar some
    summarize symmetric table tablesample then to trailing true union unique unpack unpivot using
    variadic verbose when where window with
"""
RESERVED = frozenset(WORDS.split())


def is_word(text: str) -> bool:
    """Return True if an identifier needs no quotes."""
    return text.isidentifier() and text.lower() not in RESERVED


def name(text: str) -> str:
    """Return an identifier, quoted."""
    return '"' + text.replace('"', '""') + '"'


def literal(value: object) -> str:
    """Return a text or a date as a literal."""
    return "'" + str(value).replace("'", "''") + "'"


def literals(values: Iterable[object]) -> str:
    """Return texts or dates as literals, separated by commas."""
    return ", ".join(literal(value) for value in values)
