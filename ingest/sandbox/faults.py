"""What can be made to go wrong on demand, and when: planned beforehand, counted, never by chance."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from ingest.sandbox.payload.forms import Json

Kind = Literal[
    "status",  # an error status with an HTML body
    "refuse",  # 429, without Retry-After unless seconds are given
    "stall",  # silence for so many seconds, then the connection is dropped
    "delay",  # the right answer, so many seconds late
    "reset",  # the connection is reset
    "cut",  # the connection ends in the middle of the body
    "truncated",  # half a body, complete as far as HTTP can tell
    "invalid_json",  # a body that is no JSON
    "html",  # a web page with status 200
    "repeat_page",  # the rows of the page before
    "empty_page",  # no rows, the envelope untouched
    "drop_row",  # one row is missing
    "duplicate_rows",  # every row twice, or one of them
    "wrong_type",  # a field holds an object nobody expects, or the given value
    "null",  # a field is null
    "missing",  # a field is not there
    "extra",  # fields nobody knows
    "emoji",  # a text with emoji and right-to-left marks
    "nul",  # a text with the character U+0000
    "long",  # a text of 100,000 characters
    "total",  # another number of rows in the envelope, by delta
    "no_date",  # no Date header
    "skew",  # a Date header so many seconds off
]
BODY_KINDS = frozenset(
    (
        "empty_page",
        "drop_row",
        "duplicate_rows",
        "wrong_type",
        "null",
        "missing",
        "extra",
        "emoji",
        "nul",
        "long",
        "total",
    )
)


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One planned fault.

    It hits requests whose path is ``path`` (``/order``; with a final ``*`` any that begin so;
    empty: all) and whose page is ``page`` (if given): ``times`` of them (0: all) from the
    ``nth`` on. ``field`` may lead into relations: ``buyer.full_name``, ``products.price``.
    ``row`` is the row of the page that is spoilt; -1 spoils all.
    """

    kind: Kind
    path: str = ""
    page: int | None = None
    nth: int = 1
    times: int = 1
    status: int = 503
    seconds: float = 0.0
    field: str = ""
    row: int = 0
    delta: int = 1
    value: Any = None


class Plan:
    """The faults still to come, and how often each was met."""

    def __init__(self) -> None:
        self._planned: list[tuple[Fault, list[int]]] = []

    def add(self, fault: Fault) -> None:
        """Plan one more fault."""
        self._planned.append((fault, [0]))

    def clear(self) -> None:
        """Let everything go right from now on."""
        self._planned.clear()

    def listed(self) -> list[tuple[Fault, int]]:
        """Return every planned fault with the number of requests that matched it."""
        return [(fault, met[0]) for fault, met in self._planned]

    def strike(self, path: str, page: int | None) -> list[Fault]:
        """Count a request and return the faults that hit it, in the order they were planned."""
        hit = []
        for fault, met in self._planned:
            if _matches(fault, path, page):
                met[0] += 1
                if met[0] >= fault.nth and (not fault.times or met[0] < fault.nth + fault.times):
                    hit.append(fault)
        return hit


def _matches(fault: Fault, path: str, page: int | None) -> bool:
    if fault.page is not None and fault.page != page:
        return False
    if fault.path.endswith("*"):
        return path.startswith(fault.path[:-1])
    return fault.path in ("", path)


def spoil(body: Json, fault: Fault) -> None:
    """Change a right answer in place, a list or a single record, as the fault says."""
    rows = body["data"] if isinstance(body.get("data"), list) else [body]
    if fault.kind == "empty_page":
        rows.clear()
    elif fault.kind == "total":
        body["total"] = body.get("total", 0) + fault.delta
    elif fault.kind == "drop_row":
        del rows[fault.row : fault.row + 1]
    elif fault.kind == "duplicate_rows":
        rows.extend(list(rows) if fault.row < 0 else rows[fault.row : fault.row + 1])
    else:
        for row in rows if fault.row < 0 else rows[fault.row : fault.row + 1]:
            _spoil_row(row, fault)


def _spoil_row(row: Json, fault: Fault) -> None:
    if fault.kind == "extra":
        row |= {"zz_new_field": {"nested": [1, "два", None]}, "another_new_field": 1.5}
    elif fault.kind == "missing":
        _change(row, fault.field.split("."), lambda holder, key: holder.pop(key, None))
    else:
        value = _VALUES[fault.kind](fault)
        _change(row, fault.field.split("."), lambda holder, key: holder.update({key: value}))


_VALUES: dict[str, Callable[[Fault], Any]] = {
    "wrong_type": lambda fault: {"unexpected": True} if fault.value is None else fault.value,
    "null": lambda fault: None,
    "emoji": lambda fault: "💄 Крем\u200f «Роса» 👩🏽‍🦰\u202e",
    "nul": lambda fault: "Крем\u0000Роса",
    "long": lambda fault: "Ж" * 100_000,
}


def _change(holder: Any, path: list[str], change: Callable[[Json, str], object]) -> None:
    """Apply ``change`` where ``path`` leads, through every element of a list on the way."""
    if isinstance(holder, list):
        for each in holder:
            _change(each, path, change)
    elif isinstance(holder, dict):
        if len(path) > 1:
            _change(holder.get(path[0]), path[1:], change)
        else:
            change(holder, path[0])
