"""A running server follows the lake from empty through several releases, without a failed request."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp

from lake.paths import Lake
from tests.serve.client import ask
from tests.serve.conftest import tree
from tests.serve.shop import add, make_tables, publish_gold, publish_versions, record_run
from tests.support.running import environ_of, run, server

PATHS = (
    "/api/revenue/daily?from=2026-01-01&to=2026-03-31",
    "/api/tables/revenue_daily?limit=500",
    "/api/products/top?from=2026-01-01&to=2026-03-31",
    "/api/status",
    "/",
)


async def test_swap_under_load(lake: Lake) -> None:
    """No request fails, each answer comes from one release, and the newest release is served in the end."""
    totals = {1: add(publish_and_sum(lake, 1), "revenue")}
    with server(environ_of(lake)) as base:
        publishing = asyncio.create_task(asyncio.to_thread(publish_more, lake, totals))
        seen: list[int] = []
        async with aiohttp.ClientSession() as http:
            while not publishing.done() or len(seen) < 200 or seen[-1] < max(totals):
                seen += await asyncio.gather(*(fetch(http, base, number, totals) for number in range(20)))
        await publishing
    assert set(seen) >= {1, max(totals)}


def publish_and_sum(lake: Lake, seed: int) -> list[dict[str, Decimal]]:
    """Publish a release; return its rows of revenue."""
    tables = make_tables(seed, days=40)
    publish_gold(lake, tables)
    return tables["revenue_daily"]


def publish_more(lake: Lake, totals: dict[int, Decimal]) -> None:
    """Publish five more releases, one after the other."""
    for seed in range(2, 7):
        tables = make_tables(seed, days=40)
        totals[seed] = add(tables["revenue_daily"], "revenue")
        publish_gold(lake, tables)


async def fetch(http: aiohttp.ClientSession, base: str, number: int, totals: dict[int, Decimal]) -> int:
    """Send one request, check that its answer is consistent, and return its release."""
    path = PATHS[number % len(PATHS)]
    async with http.get(base + path) as response:
        body = await response.text()
        assert response.status == 200, (path, body)
        if path.startswith("/api/revenue"):
            answer = parse_json(body)
            assert answer["totals"]["revenue"] == totals[answer["release"]] == add(answer["rows"], "revenue")
        if path == "/api/status":
            return int(parse_json(body)["release"])
        return int(response.headers["keylake-release"])


def parse_json(body: str) -> Any:
    """Return JSON with exact numbers."""
    return json.loads(body, parse_float=Decimal)


async def wait_for(base: str, path: str, status: int) -> None:
    """Return when the path answers with that status."""
    async with aiohttp.ClientSession() as http:
        while True:
            async with http.get(base + path) as response:
                if response.status == status:
                    return


async def test_first_release_is_found_by_a_running_server(lake: Lake) -> None:
    """Without a release the answer is 503 with the command to run; the first one needs no restart."""
    with server(environ_of(lake)) as base:
        for path in ("/api/health", "/api/status", "/api/summary", "/api/tables", "/api/releases"):
            reply = await asyncio.to_thread(ask, base, path)
            assert reply.status == 503
            assert "just sync" in reply.json["detail"]
            assert lake.root not in reply.json["detail"]
        page = await asyncio.to_thread(ask, base, "/")
        assert (page.status, b"just sync" in page.body) == (503, True)
        publish_gold(lake, make_tables(days=3))
        await asyncio.wait_for(wait_for(base, "/api/health", 200), 300)
        assert (await asyncio.to_thread(ask, base, "/")).status == 200


def test_release_without_some_tables(lake: Lake) -> None:
    """If a release lacks tables, their endpoints are 404 with the reason, and the others work."""
    tables = make_tables(days=5)
    publish_gold(lake, {"revenue_daily": tables["revenue_daily"]})
    with server(environ_of(lake)) as base:
        summary = ask(base, "/api/summary?from=2026-03-01&to=2026-03-31").json
        assert summary["revenue"]["value"] == add(tables["revenue_daily"], "revenue")
        assert summary["returns_count"]["value"] is None
        for path, table in (("/api/products/top", "product_daily"), ("/api/sources", "source_daily")):
            reply = ask(base, path)
            assert reply.status == 404
            assert f"no gold table {table}; it has revenue_daily" in reply.json["detail"]
        page = ask(base, "/").body.decode()
        assert "has no table gold.source_daily" in page


def test_release_without_any_table(lake: Lake) -> None:
    """A release without tables still serves, and the page shows which tables are missing."""
    publish_versions(lake, {})
    with server(environ_of(lake)) as base:
        assert ask(base, "/api/health").status == 200
        assert ask(base, "/api/tables").json["tables"] == []
        assert "it has none" in ask(base, "/api/summary").json["detail"]
        assert ask(base, "/").status == 200


def test_head_is_answered_like_get(lake: Lake) -> None:
    """HEAD has the status of GET, no body and no redirect."""
    publish_gold(lake, make_tables(days=2))
    with server(environ_of(lake)) as base:
        for path in ("/api/health", "/"):
            reply = ask(base, path, method="HEAD")
            assert (reply.status, reply.body) == (200, b"")
        assert ask(base, "/api/healthy", method="HEAD").status == 404


def test_server_never_writes_to_the_lake(lake: Lake) -> None:
    """After requests of each kind, every file of the lake has the same size and time."""
    release = publish_gold(lake, make_tables(1, days=5))
    publish_versions(lake, release.tables)
    record_run(lake)
    before = tree(Path(lake.root))
    with server(environ_of(lake)) as base:
        paths = (*PATHS, "/api/releases", "/api/tables", "/api/summary?release=1", "/figures", "/metrics")
        assert {ask(base, path).status for path in paths} == {200}
    assert tree(Path(lake.root)) == before


def test_taken_port_is_one_line(lake: Lake) -> None:
    """If the port is taken, the command ends with exit code 1 and one line, without a traceback."""
    environ = environ_of(lake)
    with server(environ) as base:
        done = run(environ, "serve", "api", "--port", base.rpartition(":")[2], seconds=60)
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert "is in use" in line
