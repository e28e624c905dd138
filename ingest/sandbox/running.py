"""A shop that listens on a port, from start to stop."""

import asyncio
import contextlib
import time
from collections.abc import Callable

from aiohttp import web

from ingest.sandbox import control
from ingest.sandbox.server import Shop, undated
from ingest.sandbox.settings import Sandbox
from ingest.sandbox.world import World

_TICK = 0.2


class RunningShop:
    """A shop that listens until ``stop``."""

    def __init__(self, shop: Shop, runner: web.AppRunner, url: str) -> None:
        self.shop = shop
        self.world = shop.world
        self.url = url
        self._runner = runner
        self._living = asyncio.create_task(self._live())

    async def _live(self) -> None:
        """Advance the clock even if there are no requests."""
        while True:
            await asyncio.sleep(_TICK)
            self.shop.clock.tick()

    async def stop(self) -> None:
        """Close the port and every connection."""
        self._living.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._living
        self.shop.close()
        await self._runner.cleanup()


async def start(
    world: World, settings: Sandbox, *, api_key: str, real_clock: Callable[[], float] = time.monotonic
) -> RunningShop:
    """Serve ``world`` at ``settings.host`` and ``port``. Raises OSError if the port is taken."""
    shop = Shop(world, api_key=api_key, real_clock=real_clock)
    app = web.Application(client_max_size=64 * 2**20)
    app.on_response_prepare.append(undated)
    control.attach(app, shop)
    app.router.add_route("*", "/v1/{path:.*}", shop.api)
    app.router.add_route("*", "/{path:.*}", shop.elsewhere)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
    except OSError as error:
        await runner.cleanup()
        raise OSError(
            error.errno, f"the sandbox shop can't listen at {settings.host}:{settings.port}: {error.strerror}"
        ) from error
    host, port = runner.addresses[0][:2]
    return RunningShop(shop, runner, f"http://{host}:{port}/v1")
