"""Output: rows as JSON, as CSV, or as a table in which the columns fit a terminal's width."""

import re
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

from lake.cli.terminal import write_data
from lake.messages import printable

FORMATS = ("table", "json", "csv")
# The option that prints all columns if a terminal has no room for them.
JSON = "--format json"
# Characters between two columns, and at both edges together.
GAP, EDGES = 3, 2
# Characters of the longest word that is never broken. A longer one would leave no room for other columns.
LONG = 32
# What a spreadsheet may take for the end of a cell: a separator of its language, or a line end.
SEPARATORS = r";\t|\n-\r\x1c-\x1e\x85\u2028\u2029"
# What it may not see at the beginning of a cell: blanks, controls and other invisible characters, and quotes.
UNSEEN = (
    r" \"\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f"
    r"\u2000-\u200f\u202a-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    r"\U000e0000-\U000e0fff"
)
# Signs with which a formula begins, with their wide and small forms and the mathematical minus.
SIGNS = r"=+\-@＝＋－＠﹦﹢﹣﹫−"
# The beginning of a part of a text that a spreadsheet may execute. A part that is only a number is harmless.
FORMULA = re.compile(
    rf"(?:^|(?<=[{SEPARATORS}]))(?! *[+\-−]?\d+(?:[.,]\d+)? *(?:[{SEPARATORS}]|$))(?=[{UNSEEN}]*[{SIGNS}])"
)
# Texts that every spreadsheet takes for one cell, also without quotes.
WORDS = re.compile(r"[\w.+-]+([ :/@][\w.+-]+)*")
encoder = msgspec.json.Encoder(decimal_format="number")


def show(rows: pa.Table, form: str) -> None:
    """Print the rows to stdout in one of FORMATS."""
    if form == "json":
        write_data(msgspec.json.format(encoder.encode(json_rows(rows)), indent=2).decode() + "\n")
    elif form == "csv":
        write_data(as_csv(rows))
    else:
        show_table(rows.column_names, [list(row.values()) for row in unique_rows(rows)], whole=JSON)


def unique_rows(rows: pa.Table) -> list[dict[str, Any]]:
    """Return the rows as dicts by column name; if a name is used twice, the second one gets a number."""
    names: list[str] = []
    for name in rows.column_names:
        names.append(name if name not in names else f"{name}_{names.count(name) + 1}")
    items: list[dict[str, Any]] = rows.rename_columns(names).to_pylist()
    return items


def json_rows(rows: pa.Table) -> list[dict[str, Any]]:
    """Return the rows with values that JSON can represent; see ``json_value``."""
    return [{name: json_value(value) for name, value in row.items()} for row in unique_rows(rows)]


def json_value(value: Any) -> Any:
    """Return a value that JSON can represent: an instant as ISO text in UTC, NaN and infinity as null."""
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
    """Return the rows as CSV with a header; nested values are JSON.

    A text that a spreadsheet would execute, in whole or in part, gets an apostrophe there. Texts are in
    quotes, except plain words.
    """
    items = unique_rows(rows)
    lines = [map(cell, items[0] if items else rows.column_names), *(map(cell, row.values()) for row in items)]
    return "".join(",".join(line) + "\n" for line in lines)


def cell(value: Any) -> str:
    """Return a value as a cell of CSV, which no spreadsheet executes. Pure."""
    text = as_text(value, empty="")
    if not isinstance(value, (str, list, dict, tuple)):
        return text
    text = harmless(text)
    return text if WORDS.fullmatch(text) else '"' + text.replace('"', '""') + '"'


def harmless(text: str) -> str:
    """Return a text of which no spreadsheet executes a part: an apostrophe begins such a part. Pure."""
    return FORMULA.sub("'", text)


def as_text(value: Any, *, empty: str = "·") -> str:
    """Return a value as readable text; ``empty`` stands for a missing one."""
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
    """Print aligned columns, numbers to the right.

    If a terminal is too narrow, some columns are left out, the ``spare`` ones first, and a line names
    them. ``whole`` is the option or pipe that prints all of them.
    """
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False, emoji=False)
    columns = [printable(name) for name in columns]
    texts = [[printable(as_text(value)) for value in row] for row in rows]
    widths: Mapping[int, int | None] = dict.fromkeys(range(len(columns)))
    if sys.stdout.isatty() and columns:
        widths = column_widths([columns, *texts], width=console.width, spare=spare)
    table = RichTable(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for index, width in widths.items():
        numbers = all(isinstance(row[index], (int, float, Decimal, type(None))) for row in rows) and bool(
            rows
        )
        justify: Literal["left", "right"] = "right" if numbers else "left"
        table.add_column(Text(columns[index]), justify=justify, overflow="fold", width=width)
    for row in texts:
        table.add_row(*(Text(row[index]) for index in widths))
    console.print(table)
    if omitted := [name for index, name in enumerate(columns) if index not in widths]:
        print(f"no room for {', '.join(omitted)}; a wider terminal shows all, so does `{whole}`")


def column_widths(
    rows: Sequence[Sequence[str]], *, width: int, spare: Collection[str] = ()
) -> dict[int, int]:
    """Return ``{index: width}`` of the columns that fit without a broken word; the first row has their names.

    The first column always stays; it is one line if that takes at most three quarters of the width. If
    there is no room, the ``spare`` columns are left out first, then the last ones. Remaining room goes to
    the narrowest columns first.
    """
    columns = list(zip(*rows, strict=True))
    full = [max(map(cell_len, "\n".join(column).split("\n"))) for column in columns]
    words = [max(map(cell_len, " ".join(column).split()), default=0) for column in columns]
    least = [min(full[0], width * 3 // 4), *(min(longest, LONG) for longest in words[1:])]
    indexes = range(len(columns))
    by_name = [index for name in spare for index in indexes if rows[0][index] == name]
    widths = dict(enumerate(least))
    for index in [*by_name, *reversed(indexes[1:])]:
        if room(widths, width) >= 0:
            break
        widths.pop(index, None)
    while room(widths, width) > 0 and (narrow := [index for index in widths if widths[index] < full[index]]):
        widths[min(narrow, key=lambda index: widths[index])] += 1
    return widths


def room(widths: dict[int, int], width: int) -> int:
    """Return how many characters of a terminal's width are unused; negative if the columns do not fit."""
    return width - sum(widths.values()) - GAP * (len(widths) - 1) - EDGES
