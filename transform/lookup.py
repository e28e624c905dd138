"""Lookup: how a model brings in the rows of another table, one by one, as far as its SQL tells. Pure.

One form is understood: the table is joined in the outermost SELECT, and read nowhere else, by its
key being equal to a column of another. Then only rows with an id in that column depend on the
row of that id. Of any other form nothing is known, and the model is built whole.
"""

from collections.abc import Iterator
from functools import cache
from typing import TypeGuard

import msgspec
import sqlglot
from sqlglot import exp

# What decides which rows there are, beside joins.
CLAUSES = ("where", "having", "qualify", "distinct")
# What keeps some of them, by their order.
LIMITS = ("limit", "offset", "sample")


class Lookup(msgspec.Struct, frozen=True):
    """The one place where a model looks rows of a table up.

    ``column`` holds their ids: of ``source``, a table of the lake, or, where that is None, of something
    the model makes. ``shown_as`` is the model's own column of these ids; None where it has none, or where
    what is found may decide whether there is a row. ``columns`` are those of the table that are used;
    None for any.
    """

    column: str
    source: str | None
    shown_as: str | None
    columns: frozenset[str] | None


@cache
def find_lookup(sql: str, table: str, key: str) -> Lookup | None:
    """Return how the SQL looks up rows of a table by its key; None where its form does not tell."""
    select = sqlglot.parse_one(sql, dialect="duckdb")
    if not isinstance(select, exp.Select) or select.find(exp.Pivot):
        return None
    if [name_of(found) for found in select.find_all(exp.Table)].count(table) != 1:
        return None
    joins: list[exp.Join] = select.args.get("joins") or []
    join = next((one for one in joins if name_of(one.this) == table), None)
    if join is None or join.side not in ("", "LEFT") or join.kind not in ("", "INNER"):
        return None
    if any(one.args.get("using") or one.method in ("NATURAL", "POSITIONAL") for one in joins):
        return None
    alias = join.this.alias_or_name.lower()
    ids = ids_in(join, f"{alias}.{key}".lower())
    if ids is None or ids.table.lower() == alias:
        return None
    others = [select.args["from_"].this, *(one.this for one in joins)]
    source = next((name_of(one) for one in others if one.alias_or_name.lower() == ids.table.lower()), None)
    return Lookup(
        ids.name.lower(),
        source,
        None if decides(select, join, alias) else shown_as(select, ids),
        columns_of(select, alias),
    )


def name_of(source: exp.Expression) -> str | None:
    """Return a table of the lake as ``layer.table``; None for anything else. DuckDB ignores the case."""
    return f"{source.db}.{source.name}".lower() if isinstance(source, exp.Table) and source.db else None


def ids_in(join: exp.Join, key: str) -> exp.Column | None:
    """Return the column that the join wants to be equal to the key, whatever else it wants."""
    on = join.args.get("on")
    for one in on.flatten() if isinstance(on, exp.And) else [on]:
        if isinstance(one, exp.EQ):
            for this, other in ((one.this, one.expression), (one.expression, one.this)):
                if is_plain(this) and is_plain(other) and this.sql().lower() == key:
                    return other
    return None


def is_plain(found: exp.Expression) -> TypeGuard[exp.Column]:
    """True for a column and what it is of, and nothing else."""
    return isinstance(found, exp.Column) and len(found.parts) == 2


def shown_as(select: exp.Select, ids: exp.Column) -> str | None:
    """Return the name under which a column is shown as it is."""
    for shown in select.expressions:
        column = shown.unalias()
        if is_plain(column) and column.sql().lower() == ids.sql().lower():
            return str(shown.alias_or_name).lower()
    return None


def decides(select: exp.Select, join: exp.Join, alias: str) -> bool:
    """True where what is joined may decide which rows there are, or how many."""
    if join.side != "LEFT" or any(select.args.get(name) for name in LIMITS):
        return True
    clauses = [select.args[name] for name in CLAUSES if select.args.get(name)]
    others = [one for one in select.args["joins"] if one is not join and one.side != "LEFT"]
    lists = [found for part in parts_of(select) for found in part.find_all(exp.Explode, exp.Unnest)]
    parts = (*clauses, *others, *lists)
    return any(may_be_of(alias, column) for part in parts for column in part.find_all(exp.Column))


def columns_of(select: exp.Select, alias: str) -> frozenset[str] | None:
    """Return the columns used of what is joined, and maybe others; None where that can't be told."""
    used: set[str] = set()
    for part in parts_of(select):
        for found in part.find_all(exp.Column, exp.Columns, exp.Star):
            if isinstance(found, exp.Column):
                names = [name.name.lower() for name in found.parts]
                if names[-1] == alias or (names == [alias, "*"]):
                    return None
                used.update(names if may_be_of(alias, found) else ())
            elif not isinstance(found.parent, exp.Count | exp.Column):
                return None
    return frozenset(used - {alias})


def parts_of(select: exp.Select) -> Iterator[exp.Expression]:
    """Yield all of a SELECT but what comes before it: there nothing that it joins is known."""
    for name, found in select.args.items():
        if name != "with_":
            yield from (one for one in (found if isinstance(found, list) else [found]) if one)


def may_be_of(alias: str, column: exp.Column) -> bool:
    """True for a column of what is joined, for a field of one, and where it is not said of what it is."""
    names = [part.name.lower() for part in column.parts]
    return len(names) == 1 or alias in names
