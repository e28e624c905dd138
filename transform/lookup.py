"""Lookup: how a query brings in the rows of another table, one by one, as far as its SQL tells. Pure.

One form is understood: the table is joined in the outermost SELECT, and read nowhere else, by its
key being equal to a column of another. Then only rows with an id in that column depend on the
row of that id. Of any other form nothing is known, and whatever reads the table is built whole.
"""

from collections.abc import Collection, Iterator
from functools import cache
from typing import TypeGuard

import msgspec
import sqlglot
from sqlglot import exp

KINDS = ("", "INNER", "OUTER", "SEMI", "ANTI")
# With these alone, and outer joins, each row stays that is there before a table is joined.
KEEPING = {"with_", "expressions", "from_", "joins", "where", "group", "order"}
# Functions that make several rows of one, or none. A function that is not known may do so too.
UNNESTING = (exp.Explode, exp.Unnest, exp.UDTF, exp.Anonymous, exp.Columns, exp.PositionalColumn, exp.Star)
GROUPINGS = (exp.Rollup, exp.Cube, exp.GroupingSets)


class Lookup(msgspec.Struct, frozen=True):
    """The one place where a query looks rows of a table up.

    ``column`` holds their ids: of ``source``, a table of the lake, or, where that is None, of something
    the query makes. ``shown_as`` is the result's own column of these ids; None where it has none, or where
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
    at = next((place for place, one in enumerate(joins) if name_of(one.this) == table), None)
    if at is None or joins[at].side not in ("", "LEFT") or any(map(is_unclear, joins)):
        return None
    sources = [select.args["from_"].this, *(one.this for one in joins)]
    if any(found.args["alias"].columns for found in sources if found.args.get("alias")):
        return None
    alias = sources[at + 1].alias_or_name.lower()
    ids = ids_in(joins[at], f"{alias}.{key}".lower())
    if ids is None or ids.table.lower() == alias:
        return None
    before = {one.alias_or_name.lower(): name_of(one) for one in sources[: at + 1]}
    keeps = keeps_rows(select, joins[at:], before.keys())
    return Lookup(
        ids.name.lower(),
        before.get(ids.table.lower()),
        shown_as(select, ids) if keeps else None,
        columns_of(select, alias),
    )


def name_of(source: exp.Expression) -> str | None:
    """Return a table of the lake as ``layer.table``; None for anything else. DuckDB ignores the case."""
    return f"{source.db}.{source.name}".lower() if isinstance(source, exp.Table) and source.db else None


def is_unclear(join: exp.Join) -> bool:
    """True for a join whose columns it does not name, or of a kind nobody needs here."""
    is_positional = join.method in ("NATURAL", "POSITIONAL")
    return is_positional or bool(join.args.get("using")) or join.kind not in KINDS


def ids_in(join: exp.Join, key: str) -> exp.Column | None:
    """Return the column that the join wants to be equal to the key, whatever else it wants."""
    on = join.args.get("on")
    for one in on.flatten() if isinstance(on, exp.And) else [on]:
        if isinstance(one, exp.EQ):
            for this, other in ((one.this, one.expression), (one.expression, one.this)):
                if is_plain(this) and is_plain(other) and named(this) == key:
                    return other
    return None


def is_plain(found: exp.Expression) -> TypeGuard[exp.Column]:
    """True for a column and what it is of, and nothing else."""
    return isinstance(found, exp.Column) and len(found.parts) == 2


def named(column: exp.Column) -> str:
    """Return a column as ``alias.column``, its case and quotes aside."""
    return ".".join(part.name.lower() for part in column.parts)


def shown_as(select: exp.Select, ids: exp.Column) -> str | None:
    """Return the name under which a column is shown as it is."""
    for shown in select.expressions:
        column = shown.unalias()
        if is_plain(column) and named(column) == named(ids):
            return str(shown.alias_or_name).lower()
    return None


def keeps_rows(select: exp.Select, joins: list[exp.Join], before: Collection[str]) -> bool:
    """True where each row of what comes before these joins is in the result, whatever they find.

    ``before`` is what it is called: a condition on anything else, or on what is not said to be of it,
    may be one on what is found.
    """
    if {name for name, found in select.args.items() if found} - KEEPING or select.find(*GROUPINGS):
        return False
    if any(one.side != "LEFT" or one.kind not in ("", "OUTER") for one in joins):
        return False
    where = select.args.get("where")
    if any(
        found
        for part in (*select.expressions, where)
        if part
        for found in part.find_all(*UNNESTING)
        if not is_count(found)
    ):
        return False
    columns = where.find_all(exp.Column) if where else ()
    return all(is_plain(column) and column.table.lower() in before for column in columns)


def is_count(found: exp.Expression) -> bool:
    """True for the star of ``count(*)``."""
    return isinstance(found, exp.Star) and isinstance(found.parent, exp.Count)


def columns_of(select: exp.Select, alias: str) -> frozenset[str] | None:
    """Return the columns used of what is joined, and maybe others; None where that can't be told."""
    used: set[str] = set()
    for part in parts_of(select):
        for found in part.find_all(exp.Column, exp.Columns, exp.Star, exp.PositionalColumn):
            if isinstance(found, exp.Column):
                names = [name.name.lower() for name in found.parts]
                if names[-1] == alias or names == [alias, "*"]:
                    return None
                used.update(names if len(names) == 1 or alias in names else ())
            elif not is_count(found) and not isinstance(found.parent, exp.Column):
                return None
    return frozenset(used - {alias})


def parts_of(select: exp.Select) -> Iterator[exp.Expression]:
    """Yield all of a SELECT but what comes before it: there nothing that it joins is known."""
    for name, found in select.args.items():
        if name != "with_":
            yield from (one for one in (found if isinstance(found, list) else [found]) if one)
