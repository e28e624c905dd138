"""Any gold table, as it is: which there are, and rows by column values, dates and order.

Names come from the release's own schema and nowhere else; what a caller wrote is
only ever compared with them or bound as a value.
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

ORDER = word("order", "Columns, comma-separated, `-` for descending: `-revenue,date`.")
LIMIT = integer("limit", "How many rows at most.", least=1, most=10_000, default=100)
OFFSET = integer("offset", "How many rows to pass over.", least=0, most=10**9, default=0)
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
    """Return every gold table with its columns, types, rows and dates."""
    return Tables(release=served.number, tables=[table_info(table) for table in served.tables.values()])


def table_info(table: GoldTable) -> TableInfo:
    """Return what is known of one table."""
    columns = [ColumnInfo(name, kind) for name, kind in table.columns.items()]
    return TableInfo(table.name, columns, table.rows, table.first_date, table.last_date)


def table_rows(served: ServedRelease, name: str, pairs: list[tuple[str, str]]) -> TableRows:
    """Return the rows that the URL's query asks for. Raises NothingThere, BadQuestion."""
    table = find_table(served, name)
    values = read_params((*TABLE_PARAMS, *column_params(table)), pairs)
    conditions, bound = where(table, values)
    source = f"from gold.{quoted(table.name)} where {' and '.join(conditions) or 'true'}"
    [counted] = served.rows(f"select count(*)::bigint as total {source}", bound)
    page = {"page_limit": values["limit"], "page_offset": values["offset"]}
    columns = ", ".join(quoted(column) for column in table.columns)
    ordered = f"order by {ordering(table, values['order'])}"
    rows = served.rows(
        f"select {columns} {source} {ordered} limit $page_limit offset $page_offset", bound | page
    )
    return TableRows(
        release=served.number,
        table=table.name,
        total=counted["total"],
        limit=values["limit"],
        offset=values["offset"],
        next=next_page(served, table, pairs, values, counted["total"]),
        rows=rows,
    )


def find_table(served: ServedRelease, name: str) -> GoldTable:
    """Return the table of that name. Raises NothingThere."""
    if name not in served.tables:
        known = ", ".join(served.tables) or "none"
        raise NothingThere(f"no gold table {excerpt(name)} in release {served.number}; it has {known}")
    return served.tables[name]


def column_params(table: GoldTable) -> list[Param]:
    """Return a parameter for every column that can be compared with a value."""
    reserved = {param.name for param in TABLE_PARAMS}
    return [
        Param(name=name, about="", schema={}, default=(), many=True, read=reader)
        for name, kind in table.columns.items()
        if name not in reserved and (reader := column_reader(kind))
    ]


def column_reader(kind: str) -> Any:
    """Return what reads a value of a DuckDB type; None where equality makes no sense."""
    return as_decimal if kind.startswith("DECIMAL") else READERS.get(kind)


def where(table: GoldTable, values: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Return the conditions and the values bound in them."""
    conditions, bound = [], {}
    for place, name in enumerate(table.columns):
        if wanted := values.get(name, ()):
            conditions.append(f"list_contains($value_{place}, {quoted(name)})")
            bound[f"value_{place}"] = list(wanted)
    for name, comparison in (("from", ">="), ("to", "<=")):
        if values[name] is not None:
            if "date" not in table.columns:
                raise BadQuestion(
                    f"{name}: {table.name} has no column date; its columns are {', '.join(table.columns)}"
                )
            conditions.append(f"date {comparison} ${name}_day")
            bound[f"{name}_day"] = values[name]
    return conditions, bound


def ordering(table: GoldTable, text: str | None) -> str:
    """Return the ORDER BY; all other columns follow, so that pages neither overlap nor miss a row."""
    asked: dict[str, str] = {}
    for part in (text or "").split(",") if text is not None else ():
        name = part.removeprefix("-")
        if name not in table.columns or name in asked:
            reason = "is there twice" if name in asked else "is no column"
            raise BadQuestion(f"order: {excerpt(name)} {reason}; the columns are {', '.join(table.columns)}")
        asked[name] = "desc" if part.startswith("-") else "asc"
    rest = {name: "asc" for name in table.columns if name not in asked}
    return ", ".join(f"{quoted(name)} {way} nulls last" for name, way in (asked | rest).items())


def next_page(
    served: ServedRelease,
    table: GoldTable,
    pairs: list[tuple[str, str]],
    values: Mapping[str, Any],
    total: int,
) -> str | None:
    """Return the URL of the rows that follow, pinned to this release; None at the end."""
    offset = values["offset"] + values["limit"]
    if offset >= total:
        return None
    kept = [(name, text) for name, text in pairs if name not in ("offset", "release", "as_of")]
    query = urlencode([*kept, ("offset", str(offset)), ("release", str(served.number))])
    return f"/api/tables/{quote(table.name)}?{query}"
