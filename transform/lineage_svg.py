"""Lineage drawing: the tables and what they read, as an SVG that any browser shows. Pure.

There is a column for each level: every table stands to the right of the tables that it reads.
"""

from collections.abc import Collection, Mapping
from html import escape

import msgspec

# Distances and sizes, in pixels.
COLUMN, ROW, WIDTH, HEIGHT, MARGIN = 250, 34, 200, 24, 20
COLOURS = {"bronze": "#b5651d", "rules": "#7a7a7a", "silver": "#6b8aa8", "gold": "#b8901f"}


class Box(msgspec.Struct, frozen=True):
    """A table's position in the drawing, in pixels from the top left."""

    name: str
    x: int
    y: int


def levels(reads: Mapping[str, Collection[str]]) -> dict[str, int]:
    """Return, for every table, the number of tables before it on the longest path to it."""
    result: dict[str, int] = {}

    def level(name: str) -> int:
        if name not in result:
            result[name] = 1 + max((level(read) for read in reads.get(name, ())), default=-1)
        return result[name]

    for name in reads:
        level(name)
    return result


def boxes(reads: Mapping[str, Collection[str]]) -> dict[str, Box]:
    """Return the position of each table: the column of its level, near the tables that it reads."""
    columns = levels(reads)
    result: dict[str, Box] = {}
    for column in range(max(columns.values(), default=-1) + 1):
        names = sorted(name for name in columns if columns[name] == column)
        heights = {
            name: sum(result[read].y for read in reads.get(name, ())) / len(reads[name])
            if reads.get(name)
            else 0
            for name in names
        }
        for row, name in enumerate(sorted(names, key=lambda table: (heights[table], table))):
            result[name] = Box(name, MARGIN + column * COLUMN, MARGIN + row * ROW)
    return result


def svg(reads: Mapping[str, Collection[str]]) -> str:
    """Return the drawing of ``{table: tables it reads}``."""
    positions = boxes(reads)
    width = max((box.x for box in positions.values()), default=0) + WIDTH + MARGIN
    height = max((box.y for box in positions.values()), default=0) + HEIGHT + MARGIN
    curves = [
        curve_svg(positions[read], positions[name])
        for name, tables in sorted(reads.items())
        for read in sorted(tables)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
            f' viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
            "<title>The tables that each table reads</title>",
            f'<rect width="{width}" height="{height}" fill="white"/>',
            *curves,
            *(box_svg(box) for _, box in sorted(positions.items())),
            "</svg>\n",
        ]
    )


def curve_svg(start: Box, end: Box) -> str:
    """Return the curve from a table to the table that reads it."""
    x, y, to_x, to_y = start.x + WIDTH, start.y + HEIGHT // 2, end.x, end.y + HEIGHT // 2
    bend = (to_x - x) // 2
    path = f"M{x} {y}C{x + bend} {y} {to_x - bend} {to_y} {to_x} {to_y}"
    return f'<path d="{path}" fill="none" stroke="#c8c8c8"/>'


def box_svg(box: Box) -> str:
    """Return a table's box with its name in it."""
    colour = COLOURS.get(box.name.partition(".")[0], "#444444")
    return (
        f'<g><rect x="{box.x}" y="{box.y}" width="{WIDTH}" height="{HEIGHT}" rx="4" fill="{colour}"/>'
        f'<text x="{box.x + 8}" y="{box.y + 16}" fill="white">{escape(box.name)}</text></g>'
    )
