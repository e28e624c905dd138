"""The query of a list request: paging, sort, includes and filters.

If a filter, an include or a sort key is unknown, a strict route refuses the request and a lenient
route ignores the parameter, as the real service does.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from ingest.sandbox import stamps
from ingest.sandbox.settings import Sandbox

MOST, USUAL = 50, 15


class Refused(Exception):
    """The request has a parameter that the route does not allow; the answer is 400."""


class Invalid(Exception):
    """A value is not valid; the answer is 422, with ``field`` in its errors."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of a list route; a route that is not strict ignores unknown ones."""

    filters: tuple[str, ...] = ()
    includes: tuple[str, ...] = ()
    sorts: tuple[str, ...] | None = None
    strict: bool = True
    details: bool = False


class Query(msgspec.Struct, frozen=True):
    """A list request, decoded."""

    page: int
    limit: int
    sort: str
    include: tuple[str, ...]
    filters: dict[str, str]
    spans: dict[str, tuple[int, int]]


_RANGES = frozenset(("created_between", "updated_between", "shipping_between", "last_logged_between"))
_FOREVER = 1 << 40


def read(route: Route, values: Mapping[str, str], settings: Sandbox) -> Query:
    """Return the query of the parameters ``values`` on ``route``. Raises Refused or Invalid."""
    filters, spans = _filters(route, values, settings)
    return Query(
        page=max(_integer("page", values.get("page", "1")), 1),
        limit=_limit(values, settings),
        sort=_sort(route, values.get("sort", ""), settings),
        include=include(route, values),
        filters=filters,
        spans=spans,
    )


def include(route: Route, values: Mapping[str, str]) -> tuple[str, ...]:
    """Return the requested relations. Raises Refused if one is not allowed."""
    asked = tuple(
        dict.fromkeys(name.strip() for name in values.get("include", "").split(",") if name.strip())
    )
    if not route.includes and not route.strict:
        return ()
    _allow("include", asked, route.includes)
    return asked


def _allow(what: str, asked: Iterable[str], allowed: tuple[str, ...]) -> None:
    unknown = [name for name in asked if name not in allowed]
    if unknown:
        names, known = "`, `".join(unknown), "`, `".join(allowed)
        raise Refused(f"Requested {what}(s) `{names}` are not allowed. Allowed {what}(s) are `{known}`.")


def _integer(field: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise Invalid(field, f"The {field} must be an integer.") from None


def _limit(values: Mapping[str, str], settings: Sandbox) -> int:
    limit = _integer("limit", values.get("limit", str(USUAL)))
    if limit > MOST and settings.limit_over_50 == "error":
        raise Invalid("limit", f"The limit may not be greater than {MOST}.")
    if limit < 1:
        if settings.limit_under_1 == "error":
            raise Invalid("limit", "The limit must be at least 1.")
        return USUAL if settings.limit_under_1 == "default" else 1
    return min(limit, MOST)


def _sort(route: Route, text: str, settings: Sandbox) -> str:
    keys = [key.strip() for key in text.split(",") if key.strip()]
    if not keys or route.sorts is None or (not route.strict and keys[0] not in route.sorts):
        return ""
    if len(keys) > 1 and settings.second_sort_key == "all_ignored":
        return ""
    _allow("sort", [keys[0].removeprefix("-")], route.sorts)
    return keys[0]


def _filters(
    route: Route, values: Mapping[str, str], settings: Sandbox
) -> tuple[dict[str, str], dict[str, tuple[int, int]]]:
    """Return the plain filters and the ranges of times, both by name."""
    plain: dict[str, str] = {}
    ends: dict[str, dict[str, str]] = {}
    for key, value in values.items():
        if not key.startswith("filter["):
            continue
        name, _, index = key[7:].rstrip("]").partition("][")
        if route.strict or name in route.filters:
            _allow("filter", [f"{name}.{index}" if index and name not in _RANGES else name], route.filters)
            if name in _RANGES:
                ends.setdefault(name, {}).update(_ends(name, index, value))
            else:
                plain[name] = value.strip()
    return plain, {name: _span(name, found, settings.date_only_end) for name, found in ends.items()}


def _ends(name: str, index: str, value: str) -> dict[str, str]:
    if index in ("from", "to"):
        return {index: value}
    parts = value.split(",")
    if index or len(parts) != 2:
        raise Invalid(f"filter.{name}", f"The {name} must be two dates, from and to.")
    return {"from": parts[0], "to": parts[1]}


def _span(
    name: str, ends: dict[str, str], date_only_end: Literal["midnight", "end_of_day"]
) -> tuple[int, int]:
    """Return both ends of a range, inclusive."""
    try:
        since = stamps.parse(ends["from"], end=False, date_only_end=date_only_end) if "from" in ends else 0
        until = stamps.parse(ends["to"], end=True, date_only_end=date_only_end) if "to" in ends else _FOREVER
    except ValueError:
        raise Invalid(f"filter.{name}", f"The {name} is not a valid date.") from None
    return since, until


def identifiers(filters: Mapping[str, str], name: str) -> frozenset[int] | None:
    """Return the ids of a list with commas, or None if the filter is absent."""
    if name not in filters:
        return None
    return frozenset(
        _integer(f"filter.{name}", part.strip()) for part in filters[name].split(",") if part.strip()
    )


def words(filters: Mapping[str, str], name: str) -> frozenset[str] | None:
    """Return the words of a list with commas, or None if the filter is absent."""
    if name not in filters:
        return None
    return frozenset(part.strip() for part in filters[name].split(",") if part.strip())


def truth(filters: Mapping[str, str], name: str) -> bool | None:
    """Return the truth value of a filter, or None if the filter is absent."""
    if name not in filters:
        return None
    if filters[name] not in ("true", "false", "1", "0"):
        raise Invalid(f"filter.{name}", f"The {name} must be true or false.")
    return filters[name] in ("true", "1")


def dialled(phone: str) -> str:
    """Return a phone in the format of the cards, ``+380001234567``; grouping characters are removed."""
    return "+" + "".join(char for char in phone if char.isdigit())
