"""Lookup: how a query joins the rows of another table by their key. Pure.

One form is recognized: the table is joined in the outermost SELECT, it is read nowhere else,
and its key equals a column of another table. Then only rows with an id in that column depend
on the row with that id. If the SQL has any other form, its model is rebuilt as a whole.
"""

from collections.abc import Collection, Iterator
from functools import cache
from typing import TypeGuard

import msgspec
import sqlglot
from sqlglot import exp

JOIN_KINDS = ("", "INNER", "OUTER", "SEMI", "ANTI")
# Clauses that keep each row that exists before a table is joined, if all joins are outer joins.
PRESERVING = {"with_", "expressions", "from_", "joins", "where", "group", "order"}
# Expressions that turn a row into several rows or none. An unknown function may do so too.
UNNESTING = (exp.Explode, exp.Unnest, exp.UDTF, exp.Anonymous, exp.Columns, exp.PositionalColumn, exp.Star)
GROUPINGS = (exp.Rollup, exp.Cube, exp.GroupingSets)


class Lookup(msgspec.Struct, frozen=True):
    """The only join of a query with a table.

    ``column`` contains the ids. It is a column of ``source``, a table of the lake, or of a
    subquery or CTE if ``source`` is None. ``output_column`` is the result's own column of these
    ids; it is None if the result has none, or if the joined rows may decide which rows the
    result has. ``columns`` are the columns of the joined table that the query uses; None means
    any.
    """

    column: str
    source: str | None
    output_column: str | None
    columns: frozenset[str] | None


@cache
def find_lookup(sql: str, table: str, key: str) -> Lookup | None:
    """Return how the SQL joins a table by its key, or None if the form is not recognized."""
    select = sqlglot.parse_one(sql, dialect="duckdb")
    if not isinstance(select, exp.Select) or select.find(exp.Pivot):
        return None
    if [table_name(read) for read in select.find_all(exp.Table)].count(table) != 1:
        return None
    joins: list[exp.Join] = select.args.get("joins") or []
    number = next((number for number, join in enumerate(joins) if table_name(join.this) == table), None)
    if number is None or joins[number].side not in ("", "LEFT") or any(map(is_unsupported, joins)):
        return None
    sources = [select.args["from_"].this, *(join.this for join in joins)]
    if any(source.args["alias"].columns for source in sources if source.args.get("alias")):
        return None
    alias = sources[number + 1].alias_or_name.lower()
    ids = joined_column(joins[number], f"{alias}.{key}".lower())
    if ids is None or ids.table.lower() == alias:
        return None
    before = {source.alias_or_name.lower(): table_name(source) for source in sources[: number + 1]}
    is_preserving = preserves_rows(select, joins[number:], before.keys())
    return Lookup(
        ids.name.lower(),
        before.get(ids.table.lower()),
        output_name(select, ids) if is_preserving else None,
        used_columns(select, alias),
    )


def table_name(source: exp.Expression) -> str | None:
    """Return a table of the lake as ``layer.table`` in lower case; None for any other expression."""
    return f"{source.db}.{source.name}".lower() if isinstance(source, exp.Table) and source.db else None


def is_unsupported(join: exp.Join) -> bool:
    """Return True if a join does not name its columns, or has a kind that is not recognized."""
    is_positional = join.method in ("NATURAL", "POSITIONAL")
    return is_positional or bool(join.args.get("using")) or join.kind not in JOIN_KINDS


def joined_column(join: exp.Join, key: str) -> exp.Column | None:
    """Return the column that must equal the key in the join's condition."""
    on = join.args.get("on")
    for term in on.flatten() if isinstance(on, exp.And) else [on]:
        if isinstance(term, exp.EQ):
            for this, other in ((term.this, term.expression), (term.expression, term.this)):
                if is_qualified(this) and is_qualified(other) and qualified_name(this) == key:
                    return other
    return None


def is_qualified(expression: exp.Expression) -> TypeGuard[exp.Column]:
    """Return True if the expression is ``alias.column``."""
    return isinstance(expression, exp.Column) and len(expression.parts) == 2


def qualified_name(column: exp.Column) -> str:
    """Return a column as ``alias.column`` in lower case, without quotes."""
    return ".".join(part.name.lower() for part in column.parts)


def output_name(select: exp.Select, ids: exp.Column) -> str | None:
    """Return the name under which the SELECT returns a column unchanged."""
    for expression in select.expressions:
        column = expression.unalias()
        if is_qualified(column) and qualified_name(column) == qualified_name(ids):
            return str(expression.alias_or_name).lower()
    return None


def preserves_rows(select: exp.Select, joins: list[exp.Join], before: Collection[str]) -> bool:
    """Return True if each row that exists before these joins is in the result, whatever they match.

    ``before`` holds the aliases joined earlier. A WHERE condition on any other alias, or on an
    unqualified column, may filter on the joined table.
    """
    if {name for name, clause in select.args.items() if clause} - PRESERVING or select.find(*GROUPINGS):
        return False
    if any(join.side != "LEFT" or join.kind not in ("", "OUTER") for join in joins):
        return False
    where = select.args.get("where")
    if any(
        not is_count(expression)
        for clause in (*select.expressions, where)
        if clause
        for expression in clause.find_all(*UNNESTING)
    ):
        return False
    columns = where.find_all(exp.Column) if where else ()
    return all(is_qualified(column) and column.table.lower() in before for column in columns)


def is_count(expression: exp.Expression) -> bool:
    """Return True for the star of ``count(*)``."""
    return isinstance(expression, exp.Star) and isinstance(expression.parent, exp.Count)


def used_columns(select: exp.Select, alias: str) -> frozenset[str] | None:
    """Return the columns of the joined table that are used, and maybe others; None if this is unknown."""
    used: set[str] = set()
    for clause in clauses_after_with(select):
        for expression in clause.find_all(exp.Column, exp.Columns, exp.Star, exp.PositionalColumn):
            if isinstance(expression, exp.Column):
                names = [part.name.lower() for part in expression.parts]
                if names[-1] == alias or names == [alias, "*"]:
                    return None
                used.update(names if len(names) == 1 or alias in names else ())
            elif not is_count(expression) and not isinstance(expression.parent, exp.Column):
                return None
    return frozenset(used - {alias})


def clauses_after_with(select: exp.Select) -> Iterator[exp.Expression]:
    """Yield the expressions of a SELECT, except its CTEs, which can't use the tables that it joins."""
    for name, clause in select.args.items():
        if name != "with_":
            yield from (part for part in (clause if isinstance(clause, list) else [clause]) if part)
