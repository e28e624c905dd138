"""Columns: which of a table's have room in a terminal, and how wide each is. Pure."""

from collections.abc import Collection, Sequence

from rich.cells import cell_len

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
