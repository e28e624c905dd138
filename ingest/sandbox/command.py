"""The sandbox shop as a process of its own, or in a thread of a test."""

import asyncio
import contextlib
import datetime as dt
import signal
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from ingest.sandbox.running import RunningShop, start
from ingest.sandbox.settings import Sandbox
from ingest.sandbox.stamps import day_start, moment
from ingest.sandbox.world import World

TEST_KEY = "sandbox-key"
_T = TypeVar("_T")


def lived(settings: Sandbox, *, clock: dt.datetime | None = None) -> World:
    """Return a world that has its whole history, and the time after it up to ``clock``."""
    world = World(settings)
    end = moment(day_start(settings.start + dt.timedelta(days=settings.days)))
    world.advance(end if clock is None else max(end, clock))
    return world


def run(settings: Sandbox, *, api_key: str, clock: dt.datetime | None = None) -> None:
    """Serve a shop until SIGTERM or SIGINT. Raises OSError if the port is taken.

    Prints one line when the shop is ready, with its address, number of orders and time.
    """
    asyncio.run(_serve(settings, api_key, clock))


async def _serve(settings: Sandbox, api_key: str, clock: dt.datetime | None) -> None:
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    world = lived(settings, clock=clock)
    shop = await start(world, settings, api_key=api_key)
    print(
        f"sandbox shop ready at {shop.url} "
        f"({len(world.store.orders)} orders, shop time {world.now:%Y-%m-%d %H:%M} UTC)",
        flush=True,
    )
    await over.wait()
    await shop.stop()


class ThreadedShop:
    """A shop that serves from its own thread."""

    def __init__(self, shop: RunningShop, loop: asyncio.AbstractEventLoop) -> None:
        self.url = shop.url
        self.shop = shop
        self._loop = loop

    def call(self, action: Callable[[RunningShop], _T]) -> _T:
        """Run ``action`` between two requests and return its result."""

        async def act() -> _T:
            return action(self.shop)

        return asyncio.run_coroutine_threadsafe(act(), self._loop).result()


@contextlib.contextmanager
def serving(
    settings: Sandbox, *, api_key: str = TEST_KEY, world: World | None = None
) -> Iterator[ThreadedShop]:
    """Serve a shop inside a ``with`` block. If ``world`` is None, a new one is simulated."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="sandbox", daemon=True)
    thread.start()
    try:
        opening = start(world or lived(settings), settings, api_key=api_key)
        shop = asyncio.run_coroutine_threadsafe(opening, loop).result()
        try:
            yield ThreadedShop(shop, loop)
        finally:
            asyncio.run_coroutine_threadsafe(shop.stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
