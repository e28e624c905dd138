"""Lineage: the tables that SQL reads, and the build order that follows. Pure.

Models don't declare their dependencies.
"""

from collections.abc import Callable, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import TypeVar

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from lake.errors import ModelError
from lake.paths import LAYERS

# Functions of DuckDB that read a table whose name is in a string.
DYNAMIC_READS = ("query", "query_table")
Node = TypeVar("Node")


def tables_read(sql: str, name: str) -> frozenset[str]:
    """Return the tables of the lake that the SQL reads, as ``layer.table`` in lower case.

    Raises ModelError if the SQL can't be parsed, or if a function hides the table's name.
    """
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except SqlglotError as error:
        raise ModelError(f"{name}: the SQL can't be read: {' '.join(str(error).split())}") from None
    functions = [function.name for function in tree.find_all(exp.Anonymous)]
    if hidden := [function for function in functions if function.lower() in DYNAMIC_READS]:
        raise ModelError(f"{name}: {hidden[0]}() hides which table is read; name the table")
    tables = {(table.db.lower(), table.name.lower()) for table in tree.find_all(exp.Table)}
    return frozenset(f"{layer}.{table}" for layer, table in tables if layer in LAYERS)


def build_order(
    nodes: Sequence[Node], *, name: Callable[[Node], str], reads: Callable[[Node], frozenset[str]]
) -> list[Node]:
    """Return the nodes sorted so that each follows the nodes it reads. Raises ModelError for a cycle."""
    by_name = {name(node): node for node in nodes}
    sorter = TopologicalSorter(
        {key: sorted(reads(node) & by_name.keys()) for key, node in sorted(by_name.items())}
    )
    try:
        return [by_name[key] for key in sorter.static_order()]
    except CycleError as error:
        raise ModelError(f"models read each other in a cycle: {' -> '.join(error.args[1])}") from None
