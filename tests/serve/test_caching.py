"""A release never changes, so an answer that a client has is not sent again."""

import gzip

from tests.serve.client import ask
from tests.serve.conftest import Served


def test_unchanged_answer_is_304(served: Served) -> None:
    """Two spellings of one request have the same ETag, and a client that sends it gets 304 without a body."""
    first = ask(served.base, "/api/summary?from=2026-03-01&to=2026-03-05")
    again = ask(served.base, "/api/summary?to=2026-03-05&from=2026-03-01&release=2")
    assert again.headers["etag"] == first.headers["etag"]
    same = ask(served.base, "/api/summary?from=2026-03-01&to=2026-03-05", If_None_Match=first.headers["etag"])
    assert (same.status, same.body) == (304, b"")
    assert same.headers["etag"] == first.headers["etag"]


def test_another_request_or_release_has_another_etag(served: Served) -> None:
    """Another period, path or release has another ETag, and the ETag of one is no match for another."""
    paths = ["/api/summary", "/api/summary?from=2026-03-02", "/api/sources", "/api/summary?release=1"]
    tags = {ask(served.base, path).headers["etag"] for path in paths}
    assert len(tags) == len(paths)
    older = ask(
        served.base, "/api/summary?release=1", If_None_Match=ask(served.base, "/api/summary").headers["etag"]
    )
    assert older.status == 200


def test_live_answers_are_not_cached(served: Served) -> None:
    """Health, status, metrics and the page may not be cached, because they describe the present."""
    for path in ("/api/health", "/api/status", "/metrics", "/"):
        assert ask(served.base, path).headers["cache-control"] == "no-store"


def test_answers_are_compressed_if_the_client_accepts_gzip(served: Served) -> None:
    """A large answer is sent with gzip if the client accepts it, and has the same content."""
    path = "/api/tables/product_daily?limit=500"
    plain = ask(served.base, path)
    packed = ask(served.base, path, Accept_Encoding="br, gzip;q=0.5")
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 3
    assert "content-encoding" not in ask(served.base, path, Accept_Encoding="gzip;q=0").headers


def test_assets_are_immutable(served: Served) -> None:
    """The page loads all its assets from this server, at URLs whose content never changes."""
    page = ask(served.base, "/").body.decode()
    addresses = [part.split('"')[0] for part in page.split('="') if part.startswith("/static/")]
    assert {address.split(".")[0] for address in addresses} == {
        "/static/icon",
        "/static/app",
        "/static/vega",
    }
    for address in addresses:
        reply = ask(served.base, address)
        assert (reply.status, "immutable" in reply.headers["cache-control"]) == (200, True)


def test_release_is_named_on_every_answer(served: Served) -> None:
    """The number of the release is in the body and in the header Keylake-Release."""
    for path in ("/api/summary", "/api/tables", "/api/sources", "/api/releases"):
        reply = ask(served.base, path)
        assert reply.json["release"] == 2
        assert reply.headers["keylake-release"] == "2"


def test_metrics_count_routes_not_addresses(served: Served) -> None:
    """A metric's label is the pattern of the route, so clients can't create labels."""
    ask(served.base, "/api/tables/revenue_daily?limit=3")
    ask(served.base, "/wp-login.php")
    text = ask(served.base, "/metrics").body.decode()
    assert 'keylake_requests_total{route="/api/tables/{table}",status="200"}' in text
    assert 'keylake_requests_total{route="none",status="404"}' in text
    assert "wp-login" not in text
    assert "keylake_release 2.0" in text
    assert "keylake_last_run_complete 1.0" in text
