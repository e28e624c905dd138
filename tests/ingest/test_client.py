"""Client against a shop: the requests that it sends, and when."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from ingest.budget import Budget
from ingest.client import Client
from ingest.entities import ORDERS
from ingest.limiter import Limiter
from ingest.sandbox.command import TEST_KEY, ThreadedShop
from ingest.settings import SourceSettings
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
        assert (await asking.fetch_first(ORDERS)).page.total > 0
    assert shop.call(lambda running: running.shop.tally.counts()).by_path == {"/order": 1}
