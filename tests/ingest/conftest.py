"""Fixtures: a small shop to ingest from, and an ingest of it."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

from ingest.budget import Budget
from ingest.client import Client
from ingest.limiter import Limiter
from ingest.progress import ProgressReporter
from ingest.run import RunRequest, run_sync
from ingest.sandbox.command import TEST_KEY, ThreadedShop, serving
from ingest.sandbox.settings import Sandbox
from ingest.settings import IngestSettings, SourceSettings
from lake.ledgers.runs import Run
from lake.paths import Lake
from lake.settings import LakeSettings

SMALL = Sandbox(
    port=0,
    days=45,
    orders_per_day=20,
    day_seconds=0,
    requests_per_minute=0,
    status_bumps_updated_at=1.0,
    line_edit_bumps_updated_at=1.0,
)
Ingest = Callable[..., Run]


@pytest.fixture
def shop() -> Iterator[ThreadedShop]:
    """A shop with 45 days and some 900 orders; its clock stands still."""
    with serving(SMALL) as running:
        yield running


@pytest.fixture
def ingest(lake: Lake, engine: LakeSettings, shop: ThreadedShop, tmp_path: Path) -> Ingest:
    """Run one ingest of a kind on the shop and return its receipt."""
    return partial(run_ingest, lake, engine, shop, tmp_path)


@pytest.fixture(scope="session")
def first_load(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake with one full load of the small shop; no test changes it."""
    folder = tmp_path_factory.mktemp("first-load")
    lake = Lake(root=str(folder / "lake"), durable=False)
    engine = LakeSettings(memory_limit="1GB", threads=2, spill=str(folder / "spill"))
    with serving(SMALL) as shop:
        assert run_ingest(lake, engine, shop, folder, "full").verdict == "complete"
    return lake


@pytest.fixture
def loaded(first_load: Lake, lake: Lake) -> None:
    """Put a copy of the first full load into the test's lake: the same settings make the same shop."""
    shutil.copytree(first_load.root, lake.root)


def run_ingest(
    lake: Lake,
    engine: LakeSettings,
    shop: ThreadedShop | str,
    folder: Path,
    kind: str,
    *,
    key: str = TEST_KEY,
    shop_url: str | None = None,
    timeout_seconds: float = 5,
    request: RunRequest | None = None,
    **settings: object,
) -> Run:
    """Run one ingest of a kind on a shop, or on the one at an address; return its receipt.

    Its budget is in ``folder``.
    """
    source = SourceSettings(
        base_url=shop_url or (shop if isinstance(shop, str) else shop.url),
        requests_per_minute=100_000,
        timeout_seconds=timeout_seconds,
        attempts=3,
        backoff_seconds=0.001,
    )
    options = {"orders_per_window": 300, "every_minutes": {"products": 0, "offers": 0}, **settings}
    client = Client(source, key=key, limiter=Limiter(Budget(folder / "budget", requests=100_000)))
    return asyncio.run(
        run_sync(
            request or msgspec.convert({"kind": kind}, RunRequest),
            lake,
            client=client,
            settings=msgspec.convert(options, IngestSettings),
            engine=engine,
            progress=ProgressReporter(budget=100_000, bar=False),
        )
    )
