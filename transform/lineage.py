"""Who reads whom, and the order that follows. Pure; nobody declares dependencies."""

from collections.abc import Callable, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import TypeVar

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from lake.errors import ModelError
from lake.paths import LAYERS

# Functions of DuckDB that read what a text says.
HIDING = ("query", "query_table")
Node = TypeVar("Node")


def tables_read(sql: str, name: str) -> frozenset[str]:
    """Return the tables of the lake that the SQL reads, as ``layer.table``; DuckDB ignores their case.

    Raises ModelError.
    """
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except SqlglotError as error:
        raise ModelError(f"{name}: the SQL can't be read: {' '.join(str(error).split())}") from None
    if hidden := [one.name for one in tree.find_all(exp.Anonymous) if one.name.lower() in HIDING]:
        raise ModelError(f"{name}: {hidden[0]}() hides what is read; name the table")
    found = {(table.db.lower(), table.name.lower()) for table in tree.find_all(exp.Table)}
    return frozenset(f"{layer}.{table}" for layer, table in found if layer in LAYERS)


def in_order(
    nodes: Sequence[Node], *, name: Callable[[Node], str], reads: Callable[[Node], frozenset[str]]
) -> list[Node]:
    """Return the nodes so that each comes after those it reads. Raises ModelError for a circle."""
    by_name = {name(node): node for node in nodes}
    sorter = TopologicalSorter(
        {key: sorted(reads(node) & by_name.keys()) for key, node in sorted(by_name.items())}
    )
    try:
        return [by_name[key] for key in sorter.static_order()]
    except CycleError as error:
        raise ModelError(f"models read each other in a circle: {' -> '.join(error.args[1])}") from None
