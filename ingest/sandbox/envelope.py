"""The envelope that KeyCRM puts around a page of a list."""

from urllib.parse import quote

from ingest.sandbox.payload.forms import Json
from ingest.sandbox.query import Query

_EACH_SIDE = 3


def envelope(
    rows: list[Json],
    total: int,
    asked: Query,
    *,
    path: str,
    parameters: list[tuple[str, str]],
    last_page: bool,
) -> Json:
    """Return a page with its number, the addresses of its neighbours and the number of all rows.

    ``parameters`` are those of the request except ``page``, which comes last in every address.
    """
    page, last = asked.page, max(-(-total // asked.limit), 1)
    query = "".join(f"{quote(name, safe='')}={quote(value, safe='')}&" for name, value in parameters)

    def address(number: int) -> str:
        return f"{path}?{query}page={number}"

    before = address(page - 1) if page > 1 else None
    after = address(page + 1) if page < last else None
    start = (page - 1) * asked.limit
    found: Json = {
        "current_page": page,
        "data": rows,
        "first_page_url": address(1),
        "from": start + 1 if rows else None,
        "last_page": last,
        "last_page_url": address(last),
        "links": [
            {"url": before, "label": "&laquo; Previous", "active": False},
            *(_link(number, page, address(number) if number else None) for number in _numbers(page, last)),
            {"url": after, "label": "Next &raquo;", "active": False},
        ],
        "next_page_url": after,
        "path": path,
        "per_page": asked.limit,
        "prev_page_url": before,
        "to": start + len(rows) if rows else None,
        "total": total,
    }
    if not last_page:
        del found["last_page"]
    return found


def _link(number: int, page: int, url: str | None) -> Json:
    return {"url": url, "label": str(number) if number else "...", "active": number == page}


def _numbers(page: int, last: int) -> list[int]:
    """Return the page numbers of the links; 0 is a gap."""
    near = _EACH_SIDE + 4
    if last < 2 * _EACH_SIDE + 8:
        return list(range(1, last + 1))
    if page <= near:
        return [*range(1, near + _EACH_SIDE + 1), 0, last - 1, last]
    if page > last - near:
        return [1, 2, 0, *range(last - near - _EACH_SIDE + 1, last + 1)]
    return [1, 2, 0, *range(page - _EACH_SIDE, page + _EACH_SIDE + 1), 0, last - 1, last]
