"""How rows are shown to a person or another program: table, JSON or CSV."""

import csv
import io
import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec
import pyarrow as pa
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

FORMATS = ("table", "json", "csv")
# How all columns are shown where a terminal has no room for them.
JSON = "--format json"
encoder = msgspec.json.Encoder(decimal_format="number")


def show(rows: pa.Table, form: str) -> None:
    """Print the rows to stdout in one of FORMATS."""
    if form == "json":
        print(msgspec.json.format(encoder.encode(json_rows(rows)), indent=2).decode())
    elif form == "csv":
        print(as_csv(rows), end="")
    else:
        show_table(rows.column_names, [list(row.values()) for row in unique_rows(rows)], whole=JSON)


def unique_rows(rows: pa.Table) -> list[dict[str, Any]]:
    """Return the rows by column name; a name used twice gets a number."""
    names: list[str] = []
    for name in rows.column_names:
        names.append(name if name not in names else f"{name}_{names.count(name) + 1}")
    found: list[dict[str, Any]] = rows.rename_columns(names).to_pylist()
    return found


def json_rows(rows: pa.Table) -> list[dict[str, Any]]:
    """Return rows that JSON can carry: instants as ISO in UTC, what isn't a number as null."""
    return [{name: json_value(value) for name, value in row.items()} for row in unique_rows(rows)]


def json_value(value: Any) -> Any:
    """Return the value as JSON can carry it."""
    if isinstance(value, datetime):
        stamp = value.astimezone(UTC) if value.tzinfo else value
        return stamp.isoformat().replace("+00:00", "Z")
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, list):
        return [json_value(item) for item in value]
    if isinstance(value, dict):
        return {key: json_value(item) for key, item in value.items()}
    return value


def as_csv(rows: pa.Table) -> str:
    """Return the rows as CSV with a header; nested values as JSON."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    found = unique_rows(rows)
    writer.writerow(found[0] if found else rows.column_names)
    for row in found:
        writer.writerow([as_text(value, empty="") for value in row.values()])
    return out.getvalue()


def as_text(value: Any, *, empty: str = "·") -> str:
    """Return a value as a person reads it."""
    if value is None:
        return empty
    if isinstance(value, datetime):
        return str(json_value(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (list, dict, tuple)):
        return encoder.encode(json_value(value)).decode()
    return str(value)


def show_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    title: str | None = None,
    spare: Collection[str] = (),
    whole: str = "| cat",
) -> None:
    """Print aligned columns; numbers to the right.

    In a terminal that is too narrow some are left out, the ``spare`` ones first; ``whole`` is
    what shows them all.
    """
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False, emoji=False)
    texts = [[as_text(value) for value in row] for row in rows]
    widths: Mapping[int, int | None] = dict.fromkeys(range(len(columns)))
    if sys.stdout.isatty() and columns:
        widths = fitted([columns, *texts], width=console.width, spare=spare)
    table = RichTable(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for place, width in widths.items():
        numbers = all(isinstance(row[place], (int, float, Decimal, type(None))) for row in rows) and bool(
            rows
        )
        justify: Literal["left", "right"] = "right" if numbers else "left"
        table.add_column(Text(columns[place]), justify=justify, overflow="fold", width=width)
    for row in texts:
        table.add_row(*(Text(row[place]) for place in widths))
    console.print(table)
    if left := [name for place, name in enumerate(columns) if place not in widths]:
        print(f"no room for {', '.join(left)}; a wider terminal shows all, so does `{whole}`")


# Between two columns, and at both edges together.
GAP, EDGES = 3, 2
# A word that is longer may be broken: nothing else would have room beside it.
LONG = 32


def fitted(rows: Sequence[Sequence[str]], *, width: int, spare: Collection[str] = ()) -> dict[int, int]:
    """Return ``{place: width}`` of the columns that fit with their words whole; the first row names them.

    The first one stays, on one line while it takes three quarters at most. Left out are the
    ``spare`` ones first, then the last ones. What room there is goes to the narrow ones first.
    """
    columns = list(zip(*rows, strict=True))
    full = [max(map(cell_len, "\n".join(column).split("\n"))) for column in columns]
    words = [max(map(cell_len, " ".join(column).split()), default=0) for column in columns]
    least = [min(full[0], width * 3 // 4), *(min(longest, LONG) for longest in words[1:])]
    places = range(len(columns))
    by_name = [place for name in spare for place in places if rows[0][place] == name]
    found = dict(enumerate(least))
    for place in [*by_name, *reversed(places[1:])]:
        if room(found, width) >= 0:
            break
        found.pop(place, None)
    while room(found, width) > 0 and (wanting := [place for place in found if found[place] < full[place]]):
        found[min(wanting, key=lambda place: found[place])] += 1
    return found


def room(widths: dict[int, int], width: int) -> int:
    """Return how much of a terminal's width is left."""
    return width - sum(widths.values()) - GAP * (len(widths) - 1) - EDGES
