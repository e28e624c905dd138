"""The KeyCRM protocol without I/O: build a request, read a response, classify an error. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from ingest.entities import Entity
from ingest.mending import DECODE_ERRORS, NotJson, page_parts
from ingest.object_ids import object_id
from ingest.plain_values import whole_number
from ingest.windows import Window
from lake.errors import KeyRefused, NotFound, RateLimited, RequestRefused, SourceDown, SourceError

# Seconds; if a server asks for a longer wait, it gets a request after this.
LONGEST_RETRY_AFTER = 300.0
# Rows of a page; the CRM reduces a larger limit to this without an error.
PAGE_ROWS = 50


class Request(msgspec.Struct, frozen=True):
    """A GET request: the path below the base URL, and the query."""

    path: str
    query: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return self.path + "?" + "&".join(f"{key}={value}" for key, value in self.query)


# A number of rows or pages. No shop has more than this; a larger number is an error of the server.
LARGEST_COUNT = 100_000_000


class Page(msgspec.Struct, frozen=True):
    """One page of a list; ``data`` holds each row's bytes exactly as received.

    A number of the envelope is None if the page has none that can be read.
    """

    data: list[msgspec.Raw]
    total: int | None
    current_page: int | None = None
    last_page: int | None = None
    per_page: int | None = None

    @property
    def pages(self) -> int:
        """How many pages the list has at least, according to this page; 1 if it has no rows."""
        counted = -(-(self.total or 0) // (self.per_page or PAGE_ROWS))
        return max(counted, self.last_page or 0, 1)


class Envelope(msgspec.Struct):
    """A page as it is written. PHP sends a list with gaps as an object: its values are the rows."""

    data: list[msgspec.Raw] | dict[str, msgspec.Raw]
    total: Any = None
    current_page: Any = None
    last_page: Any = None
    per_page: Any = None
    meta: Any = None


NUMBERS = ("total", "current_page", "last_page", "per_page")
envelope_decoder = msgspec.json.Decoder(Envelope)


def list_request(entity: Entity, window: Window, page: int) -> Request:
    """Return the request for one page of a window."""
    query = [("limit", str(PAGE_ROWS)), ("page", str(page))]
    if entity.include:
        query.append(("include", entity.include))
    if entity.sort:
        query.append(("sort", entity.sort))
    if window.since and window.until:
        span = f"{window.since:%Y-%m-%d %H:%M:%S},{window.until:%Y-%m-%d %H:%M:%S}"
        query.append((f"filter[{window.by}_between]", span))
    return Request(path=entity.path, query=tuple(query))


def first_request(entity: Entity, *, newest: bool = False) -> Request:
    """Return the request for the row with the smallest id, or with the greatest."""
    sort = "-id" if newest else "id"
    return Request(path=entity.path, query=(("limit", "1"), ("page", "1"), ("sort", sort)))


def object_request(entity: Entity, object_id: int) -> Request:
    """Return the request for one object by its id, with the same includes as in lists."""
    query = (("include", entity.include),) if entity.include else ()
    return Request(path=f"{entity.path}/{object_id}", query=query)


def read_object(body: bytes, *, expected_id: int) -> bytes:
    """Return the object's bytes. Raises SourceDown if it is not the object requested."""
    received = object_id(body)
    if received is None:
        raise SourceDown(f"the answer of {len(body)} bytes is not a JSON object with an id")
    if received != expected_id:
        raise SourceDown(f"object {received} came instead of {expected_id}")
    return body


def read_page(body: bytes, *, expected_page: int) -> Page:
    """Return the page of a 200 answer. Raises SourceDown if it is not the page requested."""
    try:
        page = page_of(envelope_of(body))
    except (NotJson, *DECODE_ERRORS) as error:
        raise SourceDown(f"the answer of {len(body)} bytes is not a page of JSON: {error}") from None
    if expected_page == 1 and not page.data and page.total:
        raise SourceDown(f"the first page is empty, although the CRM counts {page.total} rows")
    if page.current_page is not None and page.current_page != expected_page:
        raise SourceDown(f"page {page.current_page} came instead of page {expected_page}")
    return page


def envelope_of(body: bytes) -> Envelope:
    """Return the page in a body, even if a row is no valid JSON. Raises NotJson or one of DECODE_ERRORS."""
    try:
        return envelope_decoder.decode(body)
    except DECODE_ERRORS:
        pass
    fields, rows = page_parts(body)
    envelope = {name: msgspec.json.decode(fields[name]) for name in (*NUMBERS, "meta") if name in fields}
    return Envelope(data=list(map(msgspec.Raw, rows)), **envelope)


def page_of(envelope: Envelope) -> Page:
    """Return the page, with the numbers of its envelope, some of which a server may write under ``meta``.

    Raises NotJson if it has none, if its total is absurd, or if its rows are no list: then it is an answer of
    another kind.
    """
    rows = envelope.data
    if isinstance(rows, dict) and not all(map(str.isdigit, rows)):
        raise NotJson("its data is no list")
    meta = envelope.meta if isinstance(envelope.meta, dict) else {}
    total, current, last, per_page = (count_of(getattr(envelope, name), meta.get(name)) for name in NUMBERS)
    if total is None and isinstance(envelope.total, int | float) and envelope.total > LARGEST_COUNT:
        raise NotJson(f"it counts {envelope.total} rows")
    if total is None and current is None and last is None:
        raise NotJson("it has neither a total nor a number of its page")
    return Page(
        list(rows.values()) if isinstance(rows, dict) else rows, total, current, last, per_page or None
    )


def count_of(*values: object) -> int | None:
    """Return the first value that is a number of rows or pages, as a number or a text; None if none is."""
    for value in values:
        try:
            number = whole_number(value)
        except ValueError:
            continue
        if 0 <= number <= LARGEST_COUNT:
            return number
    return None


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> SourceError | None:
    """Return the error that an HTTP answer stands for; None if its status is 200."""
    if status == 200:
        return None
    answer = object_of(body)
    message = message_of(answer)
    if status == 401:
        return KeyRefused(f"the CRM refused the API key ({status} {message}); check KEYCRM_API_KEY")
    if status == 403 and answer is None:  # a firewall's page: the CRM has not received the request
        return SourceDown("403 came from a firewall or a proxy, not from the CRM's API; check the network")
    if status == 404 and answer is not None and "message" in answer:
        return NotFound(f"the CRM has no such object (404 {message})")
    if status == 404:  # a proxy's page, or a base URL without /v1: the CRM has not looked for it
        return SourceDown("404 did not come from the CRM's API; check source.base_url, which ends in /v1")
    if status == 429:
        return RateLimited(
            f"the CRM limits the rate of requests (429 {message})",
            retry_after=seconds_of(headers.get("Retry-After")),
        )
    if status >= 500 or status == 408:
        return SourceDown(f"the CRM answered {status} {message}")
    return RequestRefused(f"the CRM refuses the request ({status} {message})")


def object_of(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object of a body; None if it has none, like a web page."""
    try:
        value = msgspec.json.decode(body)
    except DECODE_ERRORS:
        return None
    return value if isinstance(value, dict) else None


def message_of(answer: dict[str, Any] | None) -> str:
    """Return the CRM's own message, shortened; empty if there is none."""
    return str((answer or {}).get("message") or "")[:200]


def seconds_of(text: str | None) -> float | None:
    """Return a Retry-After in seconds; None if it is missing, zero or a word."""
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return min(seconds, LONGEST_RETRY_AFTER) if seconds > 0 else None


def clock_of(headers: Mapping[str, str]) -> datetime | None:
    """Return the CRM's own time from the Date header; None if it has no readable one."""
    try:
        stamp = parsedate_to_datetime(headers["Date"])
    except (KeyError, ValueError, TypeError):
        return None
    return stamp.astimezone(UTC) if stamp.tzinfo else stamp.replace(tzinfo=UTC)
