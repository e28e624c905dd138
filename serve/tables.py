"""Tables: the gold tables of a release, and their rows filtered by column values and dates, in any order.

Names of tables and columns in the SQL come only from the release's schema. A client's
text is compared with those names or bound as a value; it never becomes part of the SQL.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from lake.query.quote import name as quoted
from serve.errors import BadQuestion, NothingThere
from serve.params import (
    WHICH,
    Param,
    as_boolean,
    as_date,
    as_decimal,
    as_integer,
    day,
    excerpt,
    integer,
    read_params,
    word,
)
from serve.schemas import ColumnInfo, TableInfo, TableRows, Tables
from serve.served_release import GoldTable, ServedRelease

ORDER = word("order", "Columns, comma-separated; `-` means descending: `-revenue,date`.")
LIMIT = integer("limit", "Maximum number of rows.", least=1, most=10_000, default=100)
OFFSET = integer("offset", "Number of rows to skip.", least=0, most=10**9, default=0)
DAYS = (day("from", "First shop day."), day("to", "Last shop day, included."))
TABLE_PARAMS = (*DAYS, ORDER, LIMIT, OFFSET, *WHICH)
READERS = {
    "BIGINT": as_integer,
    "INTEGER": as_integer,
    "VARCHAR": str,
    "DATE": as_date,
    "BOOLEAN": as_boolean,
}


def tables(served: ServedRelease, values: Mapping[str, Any]) -> Tables:
    """Return every gold table with its columns, types, number of rows and dates."""
    return Tables(
        release=served.number,
        not_counted=served.uncounted,
        tables=[table_info(table) for table in served.tables.values()],
    )


def table_info(table: GoldTable) -> TableInfo:
    """Return the description of one table."""
    columns = [ColumnInfo(name, kind) for name, kind in table.columns.items()]
    return TableInfo(table.name, columns, table.rows, table.first_date, table.last_date)


def table_rows(served: ServedRelease, name: str, pairs: list[tuple[str, str]]) -> TableRows:
    """Return one page of the rows that match the URL's parameters. Raises NothingThere, BadQuestion."""
    table = find_table(served, name)
    values = read_params((*TABLE_PARAMS, *column_params(table)), pairs)
    conditions, bound = where_clause(table, values)
    source = f"from gold.{quoted(table.name)} where {' and '.join(conditions) or 'true'}"
    [counts] = served.rows(f"select count(*)::bigint as total {source}", bound)
    page = {"page_limit": values["limit"], "page_offset": values["offset"]}
    columns = ", ".join(quoted(column) for column in table.columns)
    order = f"order by {order_clause(table, values['order'])}"
    rows = served.rows(
        f"select {columns} {source} {order} limit $page_limit offset $page_offset", bound | page
    )
    return TableRows(
        release=served.number,
        not_counted=served.uncounted,
        table=table.name,
        total=counts["total"],
        limit=values["limit"],
        offset=values["offset"],
        next=next_page(served, table, pairs, values, counts["total"]),
        rows=rows,
    )


def find_table(served: ServedRelease, name: str) -> GoldTable:
    """Return the gold table of that name. Raises NothingThere if the release lacks it."""
    if name not in served.tables:
        known = ", ".join(served.tables) or "none"
        raise NothingThere(f"no gold table {excerpt(name)} in release {served.number}; it has {known}")
    return served.tables[name]


def column_params(table: GoldTable) -> list[Param]:
    """Return a parameter for each column that can be filtered by value and whose name is not reserved."""
    reserved = {param.name for param in TABLE_PARAMS}
    return [
        Param(name=name, about="", schema={}, default=(), many=True, read=reader)
        for name, kind in table.columns.items()
        if name not in reserved and (reader := column_reader(kind))
    ]


def column_reader(kind: str) -> Any:
    """Return the function that parses a value of a DuckDB type; None if rows can't be filtered by it."""
    return as_decimal if kind.startswith("DECIMAL") else READERS.get(kind)


def where_clause(table: GoldTable, values: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Return the SQL conditions, and the values bound in them by name. Raises BadQuestion."""
    conditions, bound = [], {}
    for position, name in enumerate(table.columns):
        if accepted := values.get(name, ()):
            conditions.append(f"list_contains($value_{position}, {quoted(name)})")
            bound[f"value_{position}"] = list(accepted)
    for name, comparison in (("from", ">="), ("to", "<=")):
        if values[name] is not None:
            if "date" not in table.columns:
                raise BadQuestion(
                    f"{name}: {table.name} has no column date; its columns are {', '.join(table.columns)}"
                )
            conditions.append(f"date {comparison} ${name}_day")
            bound[f"{name}_day"] = values[name]
    return conditions, bound


def order_clause(table: GoldTable, text: str | None) -> str:
    """Return the ORDER BY list of the parameter ``order``. Raises BadQuestion.

    All other columns follow, so that the order is total: no row is on two pages or on none.
    """
    directions: dict[str, str] = {}
    for item in (text or "").split(",") if text is not None else ():
        name = item.removeprefix("-")
        if name not in table.columns or name in directions:
            reason = "is listed twice" if name in directions else "is no column"
            raise BadQuestion(f"order: {excerpt(name)} {reason}; the columns are {', '.join(table.columns)}")
        directions[name] = "desc" if item.startswith("-") else "asc"
    rest = {name: "asc" for name in table.columns if name not in directions}
    return ", ".join(f"{quoted(name)} {way} nulls last" for name, way in (directions | rest).items())


def next_page(
    served: ServedRelease,
    table: GoldTable,
    pairs: list[tuple[str, str]],
    values: Mapping[str, Any],
    total: int,
) -> str | None:
    """Return the URL of the next page, pinned to this release; None if this page is the last."""
    offset = values["offset"] + values["limit"]
    if offset >= total:
        return None
    filters = [(name, text) for name, text in pairs if name not in ("offset", "release", "as_of")]
    query = urlencode([*filters, ("offset", str(offset)), ("release", str(served.number))])
    return f"/api/tables/{quote(table.name)}?{query}"
