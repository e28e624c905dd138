"""Render: a table in a terminal breaks no word, and says which columns it has no room for."""

import pytest

from lake.cli.output import fitted, show_table

NAMES = ["table", "rows", "version", "last observation", "what it is"]
ROW = ["silver.order_status_history", "12", "3", "2026-06-01 09:00:00", "an order's way"]
ALL = range(5)


@pytest.mark.parametrize(
    ("width", "spare", "places"),
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
def test_columns_that_do_not_fit_are_left_out(width: int, spare: tuple[str, ...], places: list[int]) -> None:
    """The spare ones first, the first one never; and no line is longer than the terminal."""
    found = fitted([NAMES, ROW], width=width, spare=spare)
    assert list(found) == places
    assert sum(found.values()) + 3 * (len(found) - 1) + 2 <= width


def test_a_wide_terminal_shows_everything_on_one_line() -> None:
    """Each column as wide as its widest cell."""
    assert [*fitted([NAMES, ROW], width=200).values()] == [27, 4, 7, 19, 14]


def test_a_long_word_leaves_room_for_other_columns() -> None:
    """As a query may show: a payload of a page, broken where it has to be."""
    assert fitted([["payload", "id"], ["x" * 5000, "1"]], width=80) == {0: 73, 1: 2}
    assert fitted([["id", "payload"], ["1", "x" * 5000]], width=80) == {0: 2, 1: 73}


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Show the table and return its lines."""
    show_table(NAMES, [ROW], whole="--format json")
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_what_is_left_out_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a terminal alone: through a pipe all columns come."""
    assert shown(capsys)[1].split("  ")[-1] == "what it is"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "59")
    lines = shown(capsys)
    assert lines[-1] == (
        "no room for last observation, what it is; a wider terminal shows all, so does `--format json`"
    )
    assert any("silver.order_status_history   12 " in line for line in lines)


def test_what_looks_like_markup_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """In a cell and in a column's name, also where a backslash comes before it."""
    show_table(["[/x]", "[red]y"], [["\\[/red]", "a\\[red]b"]])
    said = capsys.readouterr().out
    assert all(text in said for text in ("[/x]", "[red]y", "\\[/red]", "a\\[red]b"))
