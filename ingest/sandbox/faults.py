"""Faults that a test plans: each hits the requests that it names, and never by chance."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from ingest.sandbox.payload.forms import Json

Kind = Literal[
    "status",  # an error status with an HTML body
    "refuse",  # 429, without Retry-After unless seconds are given
    "stall",  # no answer for the given seconds, then the connection is dropped
    "delay",  # the correct answer, delayed by the given seconds
    "reset",  # the connection is reset
    "cut",  # the connection ends in the middle of the body
    "truncated",  # half of a body, although HTTP is complete
    "invalid_json",  # a body that is not JSON
    "html",  # a web page with status 200
    "repeat_page",  # the rows of the previous page
    "empty_page",  # no rows, and an unchanged envelope
    "drop_row",  # one row is missing
    "duplicate_rows",  # every row twice, or one of them
    "wrong_type",  # a field has an unexpected object, or the given value
    "null",  # a field is null
    "missing",  # a field is missing
    "extra",  # unknown fields
    "emoji",  # a text with emoji and right-to-left marks
    "nul",  # a text with the character U+0000
    "long",  # a text of 100,000 characters
    "total",  # a number of rows in the envelope that is wrong by delta
    "no_date",  # no Date header
    "skew",  # a Date header that is wrong by the given seconds
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

    It matches requests by ``path`` (``/order``; a final ``*`` matches every continuation; empty
    matches all) and by ``page`` (if given). It hits ``times`` of them (0: all), from the ``nth``
    on. ``field`` may name a field of a relation: ``buyer.full_name``, ``products.price``.
    ``row`` is the row of the page that changes; -1 changes all.
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
    """The planned faults, and the number of requests that each matched."""

    def __init__(self) -> None:
        self._planned: list[tuple[Fault, list[int]]] = []

    def add(self, fault: Fault) -> None:
        """Plan one more fault."""
        self._planned.append((fault, [0]))

    def clear(self) -> None:
        """Remove every fault."""
        self._planned.clear()

    def listed(self) -> list[tuple[Fault, int]]:
        """Return every planned fault with the number of requests that it matched."""
        return [(fault, met[0]) for fault, met in self._planned]

    def strike(self, path: str, page: int | None) -> list[Fault]:
        """Count a request and return the faults that hit it, in the order in which they were planned."""
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
    """Change a correct answer (a list or one record) in place, as the fault defines."""
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
    """Apply ``change`` to the field at ``path``, in every element of each list on the way."""
    if isinstance(holder, list):
        for each in holder:
            _change(each, path, change)
    elif isinstance(holder, dict):
        if len(path) > 1:
            _change(holder.get(path[0]), path[1:], change)
        else:
            change(holder, path[0])
