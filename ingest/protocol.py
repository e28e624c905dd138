"""KeyCRM without I/O: build a request, read a response, name the error. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any

import msgspec

from ingest.entities import Entity
from ingest.windows import Window
from lake.errors import KeyRefused, NotFound, RateLimited, RequestRefused, SourceDown, SourceError

# msgspec says it of broken JSON, Python of broken UTF-8, of what is nested without end and of absurd numbers.
GARBAGE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError)
LONGEST_PATIENCE = 300.0  # seconds; a server that asks for more is asked again
PAGE_ROWS = 50  # the CRM cuts a larger limit to this, in silence


class Request(msgspec.Struct, frozen=True):
    """A GET: the path below the base URL, and the query."""

    path: str
    query: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return self.path + "?" + "&".join(f"{key}={value}" for key, value in self.query)


# No shop has more rows, or pages of them; a number beyond it is a mistake of whoever counts.
Count = Annotated[int, msgspec.Meta(ge=0, le=100_000_000)]


class Page(msgspec.Struct, frozen=True):
    """One page of a list; ``data`` holds each row's bytes exactly as received."""

    data: list[msgspec.Raw]
    total: Count
    current_page: int | None = None
    last_page: Count | None = None
    per_page: Count | None = None

    @property
    def pages(self) -> int:
        """How many pages the list has, as far as this page can tell."""
        if self.last_page is not None:
            return self.last_page
        return -(-self.total // (self.per_page or PAGE_ROWS))


class Identified(msgspec.Struct, frozen=True):
    """Of an object, its id."""

    id: int


page_decoder = msgspec.json.Decoder(Page)
one_decoder = msgspec.json.Decoder(Identified)


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


def one_request(entity: Entity, found: int) -> Request:
    """Return the request for one object by its id, with the same includes as in lists."""
    query = (("include", entity.include),) if entity.include else ()
    return Request(path=f"{entity.path}/{found}", query=query)


def read_one(body: bytes, *, asked: int) -> bytes:
    """Return the object's bytes. Raises SourceDown where it is not the object asked for."""
    try:
        found = one_decoder.decode(body)
    except GARBAGE as error:
        raise SourceDown(f"the answer of {len(body)} bytes is no object of JSON: {error}") from None
    if found.id != asked:
        raise SourceDown(f"object {found.id} came where {asked} was asked for")
    return body


def read_page(body: bytes, *, asked: int) -> Page:
    """Return the page of a 200 answer. Raises SourceDown where it is not the page asked for."""
    try:
        page = page_decoder.decode(body)
    except GARBAGE as error:
        raise SourceDown(f"the answer of {len(body)} bytes is no page of JSON: {error}") from None
    if asked == 1 and not page.data and page.total > 0:
        raise SourceDown(f"the first page is empty, of {page.total} rows that the CRM counts")
    if page.current_page is not None and page.current_page != asked:
        raise SourceDown(f"page {page.current_page} came where page {asked} was asked for")
    return page


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> SourceError | None:
    """Return what an HTTP answer means when it is not 200, None when it is."""
    if status == 200:
        return None
    own = object_of(body)
    said = message_of(own)
    if status == 401:
        return KeyRefused(f"the CRM refused the API key ({status} {said}); check KEYCRM_API_KEY")
    if status == 403 and own is None:  # a firewall's page: the CRM has not seen the request
        return SourceDown("403 came, and not from the CRM's API: a firewall or a proxy is in the way")
    if status == 404 and own is not None and "message" in own:
        return NotFound(f"the CRM has no such thing (404 {said})")
    if status == 404:  # a proxy's page, or a base URL without /v1: nobody has looked for the thing
        return SourceDown("404 came, and not from the CRM's API; is source.base_url right, /v1 included?")
    if status == 429:
        return RateLimited(
            f"the CRM asks for patience (429 {said})", retry_after=seconds_of(headers.get("Retry-After"))
        )
    if status >= 500 or status == 408:
        return SourceDown(f"the CRM answered {status} {said}")
    return RequestRefused(f"the CRM refuses the request ({status} {said})")


def object_of(body: bytes) -> dict[str, Any] | None:
    """Return the body's JSON object; None where it is none, as a web page."""
    try:
        value = msgspec.json.decode(body)
    except GARBAGE:
        return None
    return value if isinstance(value, dict) else None


def message_of(own: dict[str, Any] | None) -> str:
    """Return the CRM's own words, shortened; empty where it says none."""
    return str((own or {}).get("message") or "")[:200]


def seconds_of(text: str | None) -> float | None:
    """Return a Retry-After in seconds; None where it is missing or says nothing (0, a word)."""
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return min(seconds, LONGEST_PATIENCE) if seconds > 0 else None


def clock_of(headers: Mapping[str, str]) -> datetime | None:
    """Return the CRM's own time as its Date header says it, None where it doesn't."""
    try:
        stamp = parsedate_to_datetime(headers["Date"])
    except (KeyError, ValueError, TypeError):
        return None
    return stamp.astimezone(UTC) if stamp.tzinfo else stamp.replace(tzinfo=UTC)
