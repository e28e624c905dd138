"""Who reads whom, and the order that follows. Pure; nobody declares dependencies."""

from collections.abc import Callable, Sequence
from functools import cache
from graphlib import CycleError, TopologicalSorter
from typing import TypeVar

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import traverse_scope

from lake.errors import ModelError
from lake.paths import LAYERS

Node = TypeVar("Node")


def tables_read(sql: str, name: str) -> frozenset[str]:
    """Return the tables of the lake that the SQL reads, as ``layer.table``. Raises ModelError."""
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except SqlglotError as error:
        raise ModelError(f"{name}: the SQL can't be read: {' '.join(str(error).split())}") from None
    found = {(table.db, table.name) for table in tree.find_all(exp.Table)}
    return frozenset(f"{layer}.{table}" for layer, table in found if layer in LAYERS)


@cache
def times_read(sql: str, table: str) -> int:
    """Return how often the SQL names a table."""
    tree = sqlglot.parse_one(sql, dialect="duckdb")
    return sum(f"{found.db}.{found.name}" == table for found in tree.find_all(exp.Table))


@cache
def columns_read(sql: str, table: str) -> frozenset[str] | None:
    """Return the columns of a table that the SQL uses; None where it can't be told, as with a star."""
    used: set[str] = set()
    for scope in traverse_scope(sqlglot.parse_one(sql, dialect="duckdb")):
        aliases = {
            alias
            for alias, (_, source) in scope.selected_sources.items()
            if isinstance(source, exp.Table) and f"{source.db}.{source.name}" == table
        }
        if not aliases:
            continue
        loose = [column for column in scope.columns if not column.table]
        stars = [star for star in scope.find_all(exp.Star) if not isinstance(star.parent, exp.Count)]
        if stars or scope.expression.find(exp.Pivot) or (loose and len(scope.selected_sources) > 1):
            return None
        used |= {column.name for column in scope.columns if column.table in aliases or not column.table}
    return frozenset(used) or None


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
