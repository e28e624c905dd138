"""Names and values as SQL writes them. Pure."""

from collections.abc import Iterable


def name(text: str) -> str:
    """Return an identifier, quoted."""
    return '"' + text.replace('"', '""') + '"'


def literal(value: object) -> str:
    """Return a text or a date as a literal."""
    return "'" + str(value).replace("'", "''") + "'"


def literals(values: Iterable[object]) -> str:
    """Return texts or dates as literals with commas between."""
    return ", ".join(literal(value) for value in values)
