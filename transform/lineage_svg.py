"""Drawing: who reads whom, as an SVG that any browser shows. Pure.

A column per step of the way: what is read stands to the left of what reads it.
"""

from collections.abc import Collection, Mapping
from html import escape

import msgspec

COLUMN, ROW, WIDE, HIGH, MARGIN = 250, 34, 200, 24, 20
COLOURS = {"bronze": "#b5651d", "rules": "#7a7a7a", "silver": "#6b8aa8", "gold": "#b8901f"}


class Box(msgspec.Struct, frozen=True):
    """A table's place on the drawing, in pixels from the top left."""

    name: str
    x: int
    y: int


def steps(reads: Mapping[str, Collection[str]]) -> dict[str, int]:
    """Return, for every table, how many tables come before it on the longest way to it."""
    found: dict[str, int] = {}

    def step(name: str) -> int:
        if name not in found:
            found[name] = 1 + max((step(read) for read in reads.get(name, ())), default=-1)
        return found[name]

    for name in reads:
        step(name)
    return found


def boxes(reads: Mapping[str, Collection[str]]) -> dict[str, Box]:
    """Return where each table stands: by its step, and near what it reads."""
    at = steps(reads)
    placed: dict[str, Box] = {}
    for column in range(max(at.values(), default=-1) + 1):
        names = sorted(name for name in at if at[name] == column)
        heights = {
            name: sum(placed[read].y for read in reads.get(name, ())) / len(reads[name])
            if reads.get(name)
            else 0
            for name in names
        }
        for row, name in enumerate(sorted(names, key=lambda one: (heights[one], one))):
            placed[name] = Box(name, MARGIN + column * COLUMN, MARGIN + row * ROW)
    return placed


def svg(reads: Mapping[str, Collection[str]]) -> str:
    """Return the drawing of ``{table: tables it reads}``."""
    placed = boxes(reads)
    wide = max((box.x for box in placed.values()), default=0) + WIDE + MARGIN
    high = max((box.y for box in placed.values()), default=0) + HIGH + MARGIN
    lines = [
        line(placed[read], placed[name]) for name, tables in sorted(reads.items()) for read in sorted(tables)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}"'
            f' viewBox="0 0 {wide} {high}" font-family="sans-serif" font-size="12">',
            "<title>What each table is made of</title>",
            f'<rect width="{wide}" height="{high}" fill="white"/>',
            *lines,
            *(drawn(box) for _, box in sorted(placed.items())),
            "</svg>\n",
        ]
    )


def line(start: Box, end: Box) -> str:
    """Return the curve from what is read to what reads it."""
    x, y, to_x, to_y = start.x + WIDE, start.y + HIGH // 2, end.x, end.y + HIGH // 2
    bend = (to_x - x) // 2
    path = f"M{x} {y}C{x + bend} {y} {to_x - bend} {to_y} {to_x} {to_y}"
    return f'<path d="{path}" fill="none" stroke="#c8c8c8"/>'


def drawn(box: Box) -> str:
    """Return a table's box with its name in it."""
    colour = COLOURS.get(box.name.partition(".")[0], "#444444")
    return (
        f'<g><rect x="{box.x}" y="{box.y}" width="{WIDE}" height="{HIGH}" rx="4" fill="{colour}"/>'
        f'<text x="{box.x + 8}" y="{box.y + 16}" fill="white">{escape(box.name)}</text></g>'
    )
