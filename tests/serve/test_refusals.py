"""Refusals: an invalid request gets a status and the reason, without internals of the server."""

import pytest

from tests.serve.client import ask
from tests.serve.conftest import Served

BAD = [
    ("/api/summary?form=2026-01-01", "unknown parameter 'form'; accepted: from, to, release, as_of"),
    ("/api/summary?from=2026-02-30", "a date like"),
    ("/api/summary?from=20260101", "a date like"),
    ("/api/summary?from=", "a date like"),
    ("/api/summary?from=2026-02-02&to=2026-02-01", "after"),
    ("/api/summary?from=2026-01-01&from=2026-01-01", "more than once"),
    ("/api/summary?release=0", "a whole number from 1"),
    ("/api/summary?release=two", "a whole number from 1"),
    ("/api/summary?release=99999999999999999999", "a whole number from 1"),
    ("/api/summary?release=%D9%A1", "a whole number from 1"),
    ("/api/summary?from=%FF", "percent-encoded"),
    ("/api/summary?" + "&".join(f"x{n}=1" for n in range(300)), "at most 200"),
    ("/api/summary?from=" + "9" * 5000, "at most 4000"),
    ("/api/revenue/daily?sales_type=wholesale", "it has"),
    ("/api/revenue/daily?sales_type=" + "r" * 201, "at most 200"),
    ("/api/revenue/daily?sales_type=a%00b", "NUL"),
    ("/api/products/top?by=price", "revenue or quantity"),
    ("/api/products/top?limit=0", "from 1 to 1000"),
    ("/api/products/top?limit=1001", "from 1 to 1000"),
    ("/api/products/top?limit=1e2", "from 1 to 1000"),
    ("/api/products/top?limit=-1", "from 1 to 1000"),
    ("/api/sources?limit=1", "unknown parameter"),
    ("/api/releases?limit=201", "from 1 to 200"),
    ("/api/health?deep=1", "unknown parameter"),
    ("/api/status?limit=1", "unknown parameter"),
    ("/api/tables?limit=1", "unknown parameter"),
    ("/api/tables/revenue_daily?limit=10001", "from 1 to 10000"),
    ("/api/tables/revenue_daily?offset=-1", "from 0"),
    ("/api/tables/revenue_daily?month=2026-01-01", "unknown parameter 'month'"),
    ("/api/tables/revenue_daily?order=price", "is no column"),
    ("/api/tables/revenue_daily?order=date,-date", "twice"),
    ("/api/tables/revenue_daily?order=", "is no column"),
    ("/api/tables/revenue_daily?order=date;drop", "is no column"),
    ("/api/tables/revenue_daily?orders_count=many", "a whole number"),
    ("/api/tables/revenue_daily?revenue=1e5", "a number like"),
    ("/api/tables/revenue_daily?date=today", "a date like"),
]


@pytest.mark.parametrize(("path", "reason"), BAD, ids=[path[:60] for path, _ in BAD])
def test_invalid_request_is_refused_with_the_reason(served: Served, path: str, reason: str) -> None:
    """The response is 400 with one line: the fault or the accepted form."""
    reply = ask(served.base, path)
    assert reply.status == 400, reply.body
    assert set(reply.json) == {"detail"}
    assert reason in reply.json["detail"]
    assert "\n" not in reply.json["detail"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/api/tables/orders", "it has product_daily, returns_daily, revenue_daily, source_daily"),
        ("/api/tables/..%2Fsilver", ""),
        ("/api/summary?release=3", "the newest is 2"),
        ("/api/nothing", ""),
        ("/static/app.js", "load the page again"),
        ("/static/..%2Fapp.py", ""),
    ],
)
def test_missing_table_release_or_file(served: Served, path: str, reason: str) -> None:
    """The response is 404 and lists what exists."""
    reply = ask(served.base, path)
    assert reply.status == 404
    assert reason in reply.json["detail"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_can_be_written(served: Served, method: str) -> None:
    """The response is 405 and names the allowed method."""
    reply = ask(served.base, "/api/summary", method=method)
    assert reply.status == 405
    assert "GET" in reply.headers["allow"]


def test_bad_period_on_the_page(served: Served) -> None:
    """In the browser, a bad period gives an HTML page with the reason."""
    reply = ask(served.base, "/?from=yesterday")
    assert reply.status == 400
    assert "a date like" in reply.body.decode()
    assert reply.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    "path", ["/", "/api/summary", "/api/summary?from=x", "/api/nothing", "/metrics", "/schema"]
)
def test_every_answer_has_the_security_headers(served: Served, path: str) -> None:
    """Every response, errors included, forbids other hosts, frames and content sniffing."""
    headers = ask(served.base, path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"


TRACKED = [
    "fbclid=IwAR0x",
    "utm_source=mail&utm_medium=%D0%BB%D0%B8%D1%81%D1%82&gclid=",
    "x=%FF&y=%00",
    "fbclid=" + "9" * 6000,
    "&".join(f"x{number}=1" for number in range(300)),
    "fbclid=1&fbclid=2&=&&",
]


@pytest.mark.parametrize("tracked", TRACKED)
@pytest.mark.parametrize("path", ["/", "/figures", "/dictionary"])
def test_pages_ignore_parameters_of_trackers(served: Served, path: str, tracked: str) -> None:
    """A link with foreign parameters shows the page, and its own parameters still count."""
    assert ask(served.base, f"{path}?{tracked}").status == 200
    reply = ask(served.base, f"{path}?{tracked}&release=99")
    assert reply.status == 404
    assert ask(served.base, f"/api/summary?{tracked}").status == 400
