"""The control interface of the server, ``/control``: the clock, edits, faults and the truth.

The ingest must not use it. Every answer is JSON. If a request is wrong, the answer is 400 with the reason.

    GET    /control/clock             {"now": "…"}
    POST   /control/advance           {"days": 1} or {"seconds": 90} or {"to": "2026-09-01T00:00:00Z"}
    POST   /control/edit              one edit or a list of them: {"edit": "set_status", "order_id": 5, …}
    GET    /control/truth             the shop's records, written without the API
    GET    /control/requests          counts since the last reset; DELETE resets
    GET    /control/faults            planned faults, with the requests that each matched; DELETE clears
    POST   /control/faults            one fault or a list of them: {"kind": "status", "path": "/order", …}
"""

import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from ingest.sandbox import edits
from ingest.sandbox.faults import Fault
from ingest.sandbox.server import Shop
from ingest.sandbox.stamps import http_date

_Handler = Callable[[web.Request], Awaitable[web.Response]]


class Advance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The step of the clock: seconds, days or a time."""

    days: float = 0
    seconds: float = 0
    to: dt.datetime | None = None


def attach(app: web.Application, shop: Shop) -> None:
    """Add the control routes of ``shop`` to ``app``."""
    control = Control(shop)
    app.router.add_get("/control/clock", control.clock)
    app.router.add_post("/control/advance", control.explained(control.advance))
    app.router.add_post("/control/edit", control.explained(control.edit))
    app.router.add_get("/control/truth", control.truth)
    app.router.add_get("/control/requests", control.requests)
    app.router.add_delete("/control/requests", control.forget)
    app.router.add_get("/control/faults", control.faults)
    app.router.add_post("/control/faults", control.explained(control.plan))
    app.router.add_delete("/control/faults", control.repair)


class Control:
    """The handlers for one shop."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    async def clock(self, request: web.Request) -> web.Response:
        """Return the shop's time."""
        self._shop.clock.tick()
        return self._json({"now": self._shop.world.now, "orders": len(self._shop.world.store.orders)})

    async def advance(self, request: web.Request) -> web.Response:
        """Advance the clock."""
        how = msgspec.json.decode(await request.read(), type=Advance)
        self._shop.clock.tick()
        world = self._shop.world
        world.advance(how.to or world.now + dt.timedelta(days=how.days, seconds=how.seconds))
        self._shop.clock.set()
        return await self.clock(request)

    async def edit(self, request: web.Request) -> web.Response:
        """Apply edits in the given order and return the ids that they created or changed."""
        self._shop.clock.tick()
        wanted = msgspec.json.decode(await request.read(), type=list[edits.Edit] | edits.Edit)
        several = wanted if isinstance(wanted, list) else [wanted]
        return self._json({"ids": [edits.apply(self._shop.world, edit) for edit in several]})

    async def truth(self, request: web.Request) -> web.Response:
        """Return the shop's records."""
        self._shop.clock.tick()
        return self._json(self._shop.world.truth())

    async def requests(self, request: web.Request) -> web.Response:
        """Return the counts of requests."""
        return self._json(self._shop.tally.counts())

    async def forget(self, request: web.Request) -> web.Response:
        """Reset the counts of requests."""
        self._shop.tally.reset()
        return await self.requests(request)

    async def faults(self, request: web.Request) -> web.Response:
        """Return the planned faults."""
        return self._json([{"fault": fault, "met": met} for fault, met in self._shop.plan.listed()])

    async def plan(self, request: web.Request) -> web.Response:
        """Plan faults."""
        wanted = msgspec.json.decode(await request.read(), type=list[Fault] | Fault)
        for fault in wanted if isinstance(wanted, list) else [wanted]:
            self._shop.plan.add(fault)
        return await self.faults(request)

    async def repair(self, request: web.Request) -> web.Response:
        """Remove all planned faults."""
        self._shop.plan.clear()
        return await self.faults(request)

    def explained(self, handler: _Handler) -> _Handler:
        """Answer 400 with the reason if ``handler`` cannot decode the request or does not find a record."""

        async def explained(request: web.Request) -> web.Response:
            try:
                return await handler(request)
            except (msgspec.DecodeError, KeyError, IndexError, ValueError) as error:
                return self._json({"message": f"{type(error).__name__}: {error}"}, status=400)

        return explained

    def _json(self, value: Any, *, status: int = 200) -> web.Response:
        return web.Response(
            status=status,
            body=msgspec.json.encode(value),
            content_type="application/json",
            headers={"Date": http_date(self._shop.world.at)},
        )
