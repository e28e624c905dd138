"""Protocol: requests as the CRM expects them, and errors classified by what a caller does next."""

from datetime import UTC, datetime

import pytest

from ingest.entities import BUYERS, CATEGORIES, ORDERS
from ingest.protocol import clock_of, error_of, first_request, list_request, read_object, read_page
from ingest.windows import WHOLE, Window
from lake.errors import KeyRefused, NotFound, RateLimited, RequestRefused, SourceDown, SourceError

WINDOW = Window("updated", datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


def test_a_window_of_orders_is_requested_with_every_include() -> None:
    """A bare date would end at its midnight, and without the sort key the list would drift."""
    assert dict(list_request(ORDERS, WINDOW, 3).query) == {
        "limit": "50",
        "page": "3",
        "include": "buyer,products.offer,manager,status,expenses",
        "sort": "id",
        "filter[updated_between]": "2026-01-01 00:00:00,2026-01-02 03:04:05",
    }


def test_a_list_is_requested_without_unknown_parameters() -> None:
    """If a filter is unknown, the CRM answers 400."""
    assert list_request(CATEGORIES, WHOLE, 1).query == (("limit", "50"), ("page", "1"))
    assert "sort" not in dict(list_request(BUYERS, WINDOW, 1).query)
    assert first_request(ORDERS).query == (("limit", "1"), ("page", "1"), ("sort", "id"))


@pytest.mark.parametrize(
    ("envelope", "pages"),
    [
        (b'{"data":[],"total":0,"current_page":1,"per_page":50,"last_page":1}', 1),
        (b'{"data":[{}],"total":101,"current_page":1,"per_page":50}', 3),
        (b'{"data":[{}],"total":100,"current_page":1,"per_page":15}', 7),
        (b'{"data":[{}],"total":101,"current_page":1,"per_page":"50"}', 3),
        (b'{"data":[{}],"total":"101","current_page":"1","per_page":50}', 3),
        (b'{"data":[{}],"total":101.0,"current_page":1,"last_page":"3"}', 3),
        (b'{"data":[{}],"total":"101 ","current_page":1,"last_page":1,"per_page":"all"}', 3),
        (b'{"data":[{}],"meta":{"total":101,"current_page":1,"last_page":3}}', 3),
        (b'{"data":{"0":{},"7":{}},"total":101,"last_page":""}', 3),
    ],
)
def test_pages_are_counted_with_or_without_last_page(envelope: bytes, pages: int) -> None:
    """``last_page`` is undocumented, and the server decides on the page size."""
    assert read_page(envelope, expected_page=1).pages == pages


def test_a_row_is_kept_to_the_byte() -> None:
    """The payload is the received text, spaces included."""
    page = read_page(b'{"data":[{"id": 1,  "a":"\\u0000"}, {"id":2}],"total":2}', expected_page=1)
    assert [bytes(row) for row in page.data] == [b'{"id": 1,  "a":"\\u0000"}', b'{"id":2}']


@pytest.mark.parametrize(
    "body",
    [
        b"<html>502</html>",
        b'{"data":[{"id":1',
        b"",
        b"[]",
        b'{"data":null}',
        b'{"total":1}',
        b'{"data":[]}',
        b'{"data":[],"total":9,"current_page":2}',
        b'{"data":[{}],"total":1000000000000,"current_page":1}',
        b'{"data":[{}],"total":9223372036854775808,"current_page":1}',
        b"\xff\xfe",
    ],
)
def test_a_body_that_is_no_page_is_an_outage(body: bytes) -> None:
    """If the body of a 200 is no page, the request is retried."""
    with pytest.raises(SourceDown):
        read_page(body, expected_page=1)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, KeyRefused),
        (403, RequestRefused),
        (404, NotFound),
        (400, RequestRefused),
        (422, RequestRefused),
        (301, RequestRefused),
        (429, RateLimited),
        (408, SourceDown),
        (500, SourceDown),
        (503, SourceDown),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[SourceError]) -> None:
    """The error has the CRM's own message."""
    error = error_of(status, {}, b'{"message":"so it is"}')
    assert type(error) is kind
    assert "so it is" in str(error)


def test_a_404_that_is_not_the_crms_own_is_an_outage() -> None:
    """If a proxy answers or the base URL lacks /v1, no order is deleted."""
    for body in (b"<html>404</html>", b"", b"[]", b"{}"):
        assert type(error_of(404, {}, body)) is SourceDown


@pytest.mark.parametrize("message", [b'""', b"null", b'"No query results"', b"[]"])
def test_a_404_of_the_crm_counts_with_any_message(message: bytes) -> None:
    """The CRM's answers have the key ``message``, even if it is empty."""
    assert type(error_of(404, {}, b'{"message":' + message + b"}")) is NotFound


@pytest.mark.parametrize("body", [b"<html>403 Forbidden</html>", b"", b"[]", b"\xff"])
def test_a_403_that_is_not_the_crms_own_is_an_outage(body: bytes) -> None:
    """If a firewall answers, the key is still good and the request may pass the next time."""
    assert type(error_of(403, {}, body)) is SourceDown


def test_401_is_always_the_key() -> None:
    """A 401 ends the run, also if a proxy sent it."""
    for body in (b'{"message":"Unauthenticated."}', b"<html>401</html>", b""):
        assert type(error_of(401, {}, body)) is KeyRefused


def test_200_is_no_error() -> None:
    """The body is checked elsewhere."""
    assert error_of(200, {}, b"<html>") is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("86400", 300.0), ("0", None), (None, None), ("soon", None)],
)
def test_retry_after_counts_only_if_it_is_a_number_of_seconds(
    header: str | None, seconds: float | None
) -> None:
    """The header is often missing or zero."""
    error = error_of(429, {"Retry-After": header} if header is not None else {}, b"")
    assert isinstance(error, RateLimited)
    assert error.retry_after == seconds


def test_the_clock_is_the_sources_own() -> None:
    """Windows are cut by it; if the header is unreadable, there is no time."""
    assert clock_of({"Date": "Thu, 01 Jan 2026 10:00:00 GMT"}) == datetime(2026, 1, 1, 10, tzinfo=UTC)
    assert clock_of({}) is None
    assert clock_of({"Date": "yesterday"}) is None


def test_an_object_is_the_one_requested_even_if_its_id_is_text() -> None:
    """An id counts the same as a number and as text; another id, or none, is an outage."""
    assert read_object(b'{"id":"17"}', expected_id=17) == b'{"id":"17"}'
    for text in (b'" 17 "', b'"17.0"', b"17.0", b'"+17"', b'17, "a": "\\ud83d"', b"17, nothing"):
        assert read_object(b'{"id":%s}' % text, expected_id=17)
    for body in (b'{"id":"18"}', b'{"id":null}', b'{"id":"x"}', b"{}"):
        with pytest.raises(SourceDown):
            read_object(body, expected_id=17)
