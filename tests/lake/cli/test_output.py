"""Output: a table in a terminal breaks no word, and a line names the columns that have no room."""

import csv
import io

import pyarrow as pa
import pytest

from lake.cli.output import as_csv, column_widths, show, show_table
from lake.messages import printable

NAMES = ["table", "rows", "version", "last observation", "what it is"]
ROW = ["silver.order_status_history", "12", "3", "2026-06-01 09:00:00", "an order's way"]
ALL = range(5)


@pytest.mark.parametrize(
    ("width", "spare", "indexes"),
    [
        (200, (), [*ALL]),
        (70, (), [*ALL]),
        (69, (), [0, 1, 2, 3]),
        (69, ("rows",), [0, 2, 3, 4]),
        (52, ("rows", "version"), [0, 3]),
        (38, ("rows",), [0]),
        (20, (), [0]),
    ],
)
def test_columns_that_do_not_fit_are_left_out(width: int, spare: tuple[str, ...], indexes: list[int]) -> None:
    """Spare columns are left out first, the first column never; no line is longer than the terminal."""
    widths = column_widths([NAMES, ROW], width=width, spare=spare)
    assert list(widths) == indexes
    assert sum(widths.values()) + 3 * (len(widths) - 1) + 2 <= width


def test_a_wide_terminal_shows_everything_on_one_line() -> None:
    """Each column is as wide as its widest cell."""
    assert [*column_widths([NAMES, ROW], width=200).values()] == [27, 4, 7, 19, 14]


def test_a_long_word_leaves_room_for_other_columns() -> None:
    """A word as long as a payload is broken, so that the other columns have room."""
    assert column_widths([["payload", "id"], ["x" * 5000, "1"]], width=80) == {0: 73, 1: 2}
    assert column_widths([["id", "payload"], ["1", "x" * 5000]], width=80) == {0: 2, 1: 73}


def print_lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Print the table and return its lines."""
    show_table(NAMES, [ROW], whole="--format json")
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_a_line_names_the_columns_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Columns are left out only in a terminal; a pipe gets all of them."""
    assert print_lines(capsys)[1].split("  ")[-1] == "what it is"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "59")
    lines = print_lines(capsys)
    assert lines[-1] == (
        "no room for last observation, what it is; a wider terminal shows all, so does `--format json`"
    )
    assert any("silver.order_status_history   12 " in line for line in lines)


def test_markup_is_printed_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    """Markup in a cell or in a column's name is plain text, even if a backslash comes before it."""
    show_table(["[/x]", "[red]y"], [["\\[/red]", "a\\[red]b"]])
    output = capsys.readouterr().out
    assert all(text in output for text in ("[/x]", "[red]y", "\\[/red]", "a\\[red]b"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\rb\x08c\x00", "a\\rb\\x08c\\x00"),
        ("a\u202eb", "a\\u202eb"),
        ("Тонер «Туман»\n\tₐ 🙂", "Тонер «Туман»\n\tₐ 🙂"),
    ],
)
def test_no_value_steers_a_terminal(capsys: pytest.CaptureFixture[str], text: str, shown: str) -> None:
    """Control characters of a name are printed as escapes; letters, signs and line ends as they are."""
    assert printable(text) == shown
    show_table(["name", text], [[text, 1]])
    printed = capsys.readouterr().out
    assert not set("\x1b\x9b\x07\x08\x00\r\u202e") & set(printed)


@pytest.mark.parametrize("form", ["csv", "json"])
def test_only_a_terminal_gets_escapes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """A file or a pipe gets the data unchanged."""
    rows = pa.table({"name": ["a\x9bb"]})
    show(rows, form)
    assert "a\x9bb" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    show(rows, form)
    assert "a\\x9bb" in capsys.readouterr().out


# Cells that a spreadsheet executes, or a part of them if its separator is another one, and what they become.
EXECUTED = {
    "=1+1": "'=1+1",
    "+cmd|' /C calc'!A0": "'+cmd|' /C calc'!A0",
    "-2+3": "'-2+3",
    "@SUM(A1)": "'@SUM(A1)",
    "\t=1": "\t'=1",
    "\r=1": "\r'=1",
    "＝1": "'＝1",
    "−1+1": "'−1+1",
    "﹢1+1": "'﹢1+1",
    " =1+1": "' =1+1",
    "\u00a0=1": "'\u00a0=1",
    "\ufeff=1+1": "'\ufeff=1+1",
    "\u200b\u2066=1": "'\u200b\u2066=1",
    "\x00=1+1": "'\x00=1+1",
    "\n=1+1": "\n'=1+1",
    "a\r\n@x": "a\r\n'@x",
    "a\u2028=1": "a\u2028'=1",
    "a;=1+1": "a;'=1+1",
    "a; =1;b;-2+3": "a;' =1;b;'-2+3",
    "a\t=1+1": "a\t'=1+1",
    "a|=1": "a|'=1",
    'a;"=1"': 'a;\'"=1"',
    '"=1': "'\"=1",
}


@pytest.mark.parametrize("text", EXECUTED)
def test_csv_has_no_cell_that_a_spreadsheet_executes(text: str) -> None:
    """Such a text gets an apostrophe; numbers, also as text, and ordinary words stay as they are."""
    values = [text, "-50", "+380671234567", "-0.5", "a=b", "", "x; -5;−5,5\n+1", "a - b", "'=1"]
    rows = pa.table({text: values, "amount": pa.array([-1, -2, 3, None, 0, 5, 6, 7, 8])})
    lines = list(csv.reader(io.StringIO(as_csv(rows), newline="")))
    assert lines[0] == [EXECUTED[text], "amount"]
    assert [line[0] for line in lines[1:]] == [EXECUTED[text], *values[1:]]
    assert [line[1] for line in lines[1:]] == ["-1", "-2", "3", "", "0", "5", "6", "7", "8"]


def test_csv_has_no_formula_in_a_nested_value() -> None:
    """A list, a record and a map are JSON in quotes, with an apostrophe in their texts."""
    rows = pa.table({"a": [["x;=1+1"]], "b": [{"c": "=1;@2"}]})
    [_, line] = csv.reader(io.StringIO(as_csv(rows), newline=""))
    assert line == ['["x;\'=1+1"]', '{"c":"=1;\'@2"}']


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("Instagram", "Instagram"),
        ("2026-05-01 10:00", "2026-05-01 10:00"),
        ("a@b.ua", "a@b.ua"),
        ("", '""'),
        ("a;b", '"a;b"'),
        ("a\tb", '"a\tb"'),
        ("a|b", '"a|b"'),
        ('a"b', '"a""b"'),
        (" a", '" a"'),
        ("a\rb", '"a\rb"'),
    ],
)
def test_texts_are_in_quotes_except_plain_words(text: str, written: str) -> None:
    """A text with a separator of any spreadsheet is in quotes, and an empty text differs from a null."""
    assert as_csv(pa.table({"name": [text], "b": [None]})) == f"name,b\n{written},\n"


def test_a_long_cell_of_line_ends_takes_no_longer_than_others() -> None:
    """The search for formulas looks at every character once or twice."""
    text = "\n" * 200_000 + " " * 200_000 + "="
    assert as_csv(pa.table({"a": [text]})).count("'") == 1
