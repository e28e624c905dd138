"""A release never changes, so an answer that a client holds is never sent again."""

import gzip

from tests.serve.client import ask
from tests.serve.conftest import Served


def test_unchanged_answer_is_304(served: Served) -> None:
    """The ETag is the release and the question; the same question gets the same tag in any spelling."""
    first = ask(served.base, "/api/summary?from=2026-03-01&to=2026-03-05")
    again = ask(served.base, "/api/summary?to=2026-03-05&from=2026-03-01&release=2")
    assert again.headers["etag"] == first.headers["etag"]
    held = ask(served.base, "/api/summary?from=2026-03-01&to=2026-03-05", If_None_Match=first.headers["etag"])
    assert (held.status, held.body) == (304, b"")
    assert held.headers["etag"] == first.headers["etag"]


def test_another_question_or_release_has_another_tag(served: Served) -> None:
    """Neither another period, nor another address, nor another release is mistaken for it."""
    paths = ["/api/summary", "/api/summary?from=2026-03-02", "/api/sources", "/api/summary?release=1"]
    tags = {ask(served.base, path).headers["etag"] for path in paths}
    assert len(tags) == len(paths)
    held = ask(
        served.base, "/api/summary?release=1", If_None_Match=ask(served.base, "/api/summary").headers["etag"]
    )
    assert held.status == 200


def test_live_answers_are_not_kept(served: Served) -> None:
    """Health and status say what is true now."""
    for path in ("/api/health", "/api/status", "/metrics", "/"):
        assert ask(served.base, path).headers["cache-control"] == "no-store"


def test_answers_are_packed_for_who_can_unpack(served: Served) -> None:
    """gzip for larger answers, and the same content."""
    path = "/api/tables/product_daily?limit=500"
    plain = ask(served.base, path)
    packed = ask(served.base, path, Accept_Encoding="br, gzip;q=0.5")
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 3
    assert "content-encoding" not in ask(served.base, path, Accept_Encoding="gzip;q=0").headers


def test_assets_are_kept_for_ever(served: Served) -> None:
    """Their address names their content; the charts' library comes from this host too."""
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
    """In the body, and in a header for those that read no body."""
    for path in ("/api/summary", "/api/tables", "/api/sources", "/api/releases"):
        reply = ask(served.base, path)
        assert reply.json["release"] == 2
        assert reply.headers["keylake-release"] == "2"


def test_metrics_count_routes_not_addresses(served: Served) -> None:
    """No caller can make a new label."""
    ask(served.base, "/api/tables/revenue_daily?limit=3")
    ask(served.base, "/wp-login.php")
    text = ask(served.base, "/metrics").body.decode()
    assert 'keylake_requests_total{route="/api/tables/{table}",status="200"}' in text
    assert 'keylake_requests_total{route="none",status="404"}' in text
    assert "wp-login" not in text
    assert "keylake_release 2.0" in text
    assert "keylake_last_run_complete 1.0" in text
