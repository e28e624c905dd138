"""Client against a shop: the requests that it sends, and when."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from yarl import URL

from ingest.budget import Budget
from ingest.client import Client
from ingest.entities import ORDERS
from ingest.limiter import Limiter
from ingest.sandbox.command import TEST_KEY, ThreadedShop
from ingest.settings import SourceSettings
from lake.errors import SourceDown
from tests.support.shop_edits import add_fault


def client(shop: ThreadedShop, folder: Path, *, url: str = "", per: float = 60.0) -> Client:
    """Return a client that may send one request in so many seconds."""
    settings = SourceSettings(base_url=url or shop.url, attempts=1)
    return Client(settings, key=TEST_KEY, limiter=Limiter(Budget(folder / "budget", requests=1, per=per)))


async def test_the_budget_counts_from_a_late_answer(shop: ThreadedShop, tmp_path: Path) -> None:
    """The shop may have counted the first request just before its answer, so the next one waits from then."""
    add_fault(shop, kind="delay", seconds=1.6)
    async with client(shop, tmp_path, per=1.0) as asking:
        await asking.fetch_first(ORDERS)
        answered = time.monotonic()
        await asking.fetch_first(ORDERS)
        assert time.monotonic() - answered >= 1.0


async def test_two_clients_never_make_equal_stamps() -> None:
    """If the machine's clock is behind the lake, stamps still tell the lines of two observations apart."""
    ahead = datetime.now(UTC) + timedelta(hours=1)
    clients = [Client(SourceSettings(), key="k", limiter=cast(Any, None)) for _ in range(2)]
    for client in clients:
        client.stamp_after(ahead)
    stamps = [[client._stamp() for _ in range(50)] for client in clients]
    assert all(ahead < stamp < ahead + timedelta(seconds=2) for some in stamps for stamp in some)
    assert all(some == sorted(set(some)) for some in stamps)
    assert stamps[0][0] != stamps[1][0]


async def test_a_slash_at_the_end_of_the_address_changes_nothing(shop: ThreadedShop, tmp_path: Path) -> None:
    """The base URL may end with a slash."""
    async with client(shop, tmp_path, url=shop.url + "/") as asking:
        assert (await asking.fetch_first(ORDERS)).page.total
    assert shop.call(lambda running: running.shop.tally.counts()).by_path == {"/order": 1}


class Proxy:
    """A forward proxy on loopback: it records each request line and login, and asks ``target`` instead."""

    def __init__(self, target: str) -> None:
        self.target = URL(target)
        self.requests: list[tuple[str, str | None]] = []
        self.heads: list[str] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Record one request, and return the target's answer to it."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *fields = head.split("\r\n")
        headers = dict(field.split(": ", 1) for field in fields if field)
        self.heads.append(head)
        self.requests.append((line.split()[1], headers.get("Proxy-Authorization")))
        if line.startswith("CONNECT"):
            writer.close()
            return
        there, back = await asyncio.open_connection(self.target.host, self.target.port)
        path = URL(line.split()[1]).raw_path_qs
        back.write(f"GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n".encode())
        back.write(f"Authorization: {headers['Authorization']}\r\n\r\n".encode())
        writer.write(await there.read())
        back.close()
        writer.close()


@pytest.fixture
async def proxy(shop: ThreadedShop) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy in front of the shop, and its address."""
    forward = Proxy(shop.url)
    server = await asyncio.start_server(forward.answer, "127.0.0.1", 0)
    async with server:
        yield forward, f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY"])
@pytest.mark.parametrize("login", ["", "user:p%40ss@"])
async def test_a_proxy_of_the_environment_is_used(
    shop: ThreadedShop,
    proxy: tuple[Proxy, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    login: str,
) -> None:
    """A source elsewhere is asked through the proxy, with its login if the address has one."""
    forward, address = proxy
    monkeypatch.setenv(name, f"http://{login}{address}")
    async with client(shop, tmp_path, url="http://crm.invalid/v1") as asking:
        assert (await asking.fetch_first(ORDERS)).page.total
    [(url, authorization)] = forward.requests
    assert url.startswith("http://crm.invalid/v1/order?")
    assert authorization == ((login and aiohttp.encode_basic_auth("user", "p@ss")) or None)


@pytest.mark.parametrize("url", ["", "http://crm.invalid/v1"])
async def test_no_proxy_for_this_machine_or_an_excluded_host(
    shop: ThreadedShop, proxy: tuple[Proxy, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
) -> None:
    """A sandbox, and a host that NO_PROXY names, are asked directly."""
    forward, address = proxy
    monkeypatch.setenv("http_proxy", f"http://{address}")
    monkeypatch.setenv("no_proxy", "crm.invalid")
    with contextlib.suppress(SourceDown):
        async with client(shop, tmp_path, url=url) as asking:
            await asking.fetch_first(ORDERS)
    assert forward.requests == []


async def test_a_proxy_never_sees_the_key(
    proxy: tuple[Proxy, str], shop: ThreadedShop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The request for a tunnel to the CRM carries the proxy's login, and nothing of the CRM's."""
    forward, address = proxy
    monkeypatch.setenv("https_proxy", f"http://user:p%40ss@{address}")
    with contextlib.suppress(SourceDown):
        async with client(shop, tmp_path, url="https://crm.invalid/v1") as asking:
            await asking.fetch_first(ORDERS)
    assert forward.requests == [("crm.invalid:443", aiohttp.encode_basic_auth("user", "p@ss"))]
    assert TEST_KEY not in forward.heads[0]
    assert "\r\nAuthorization:" not in forward.heads[0]
