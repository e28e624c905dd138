"""The shop's HTTP server: KeyCRM's API with its budget and its key, and the planned faults."""

import asyncio
import contextlib
import struct
from collections.abc import Callable
from socket import SO_LINGER, SOL_SOCKET

import msgspec
from aiohttp import web

from ingest.sandbox.answers import NGINX_404, Answer, Desk
from ingest.sandbox.budget import Budget
from ingest.sandbox.clock import Clock
from ingest.sandbox.faults import BODY_KINDS, Fault, Plan, spoil
from ingest.sandbox.payload.forms import Json
from ingest.sandbox.settings import Sandbox
from ingest.sandbox.tally import Tally
from ingest.sandbox.world import World

_HTML_502 = (
    "<html>\r\n<head><title>{0}</title></head>\r\n<body><center><h1>{0}</h1></center></body>\r\n</html>\r\n"
)


class Shop:
    """Serves one world: checks the key and the budget, and applies the planned faults."""

    def __init__(self, world: World, *, api_key: str, real_clock: Callable[[], float]) -> None:
        settings = world.settings
        self.world = world
        self.clock = Clock(world, day_seconds=settings.day_seconds, real=real_clock)
        self.tally = Tally()
        self.plan = Plan()
        self._settings: Sandbox = settings
        self._bearer = f"Bearer {api_key}"
        self._budget = Budget(settings.requests_per_minute, window=settings.rate_window)
        self._desk = Desk(world)
        self._real = real_clock
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Release the requests that a fault delays."""
        self._closing.set()

    async def api(self, request: web.Request) -> web.StreamResponse:
        """Answer one API request."""
        path = "/" + request.match_info["path"].strip("/")
        now = self._real()
        self.clock.tick()
        self.tally.arrived(path, now)
        response = await self._respond(request, path, now)
        self.tally.answered(response.status)
        return response

    async def _respond(self, request: web.Request, path: str, now: float) -> web.StreamResponse:
        if request.headers.get("Authorization") != self._bearer:
            return self._json(Answer(401, {"message": "Unauthenticated."}))
        verdict = self._budget.spend(self._bearer, now)
        headers = self._limits(verdict.remaining)
        if not verdict.allowed:
            return self._refusal(headers, verdict.retry_after)
        if request.method != "GET":
            message = (
                f"The {request.method} method is not supported for this route. Supported methods: GET, HEAD."
            )
            return self._json(Answer(405, {"message": message}), headers)
        page = request.query.get("page", "1")
        hit = self.plan.strike(path, int(page) if page.isdecimal() and len(page) < 10 else None)
        await self._wait(self._settings.latency_ms / 1000 + sum(f.seconds for f in hit if f.kind == "delay"))
        for fault in hit:
            response = await self._broken(request, fault, headers)
            if response is not None:
                return response
        return await self._sound(request, path, hit, headers)

    async def _sound(
        self, request: web.Request, path: str, hit: list[Fault], headers: dict[str, str]
    ) -> web.StreamResponse:
        """Send the correct answer, with the faults of its body and headers."""
        parameters = list(request.query.items())
        base = f"{request.scheme}://{request.host}/v1"
        answer = self._desk.answer(path, parameters, base=base)
        for fault in hit:
            if fault.kind == "skew":
                headers["Date"] = self._desk.date(fault.seconds)
            elif fault.kind == "no_date":
                headers["Date"] = ""
            elif isinstance(answer.body, dict):
                if fault.kind == "repeat_page" and "data" in answer.body:
                    answer.body["data"] = self._rows_before(
                        path, parameters, answer.body["current_page"], base
                    )
                elif fault.kind in BODY_KINDS:
                    spoil(answer.body, fault)
        return await self._sent(request, answer, hit, headers)

    def _rows_before(self, path: str, parameters: list[tuple[str, str]], page: int, base: str) -> list[Json]:
        """Return the rows of the page before ``page``."""
        others = [(name, value) for name, value in parameters if name != "page"]
        body = self._desk.answer(path, [*others, ("page", str(max(page - 1, 1)))], base=base).body
        rows: list[Json] = body["data"] if isinstance(body, dict) else body
        return rows

    async def _sent(
        self, request: web.Request, answer: Answer, hit: list[Fault], headers: dict[str, str]
    ) -> web.StreamResponse:
        kinds = {fault.kind for fault in hit}
        response = self._json(answer, headers)
        body = response.body
        assert isinstance(body, bytes)
        if "truncated" in kinds:
            response.body = body[: len(body) // 2]
        elif "invalid_json" in kinds:
            response.body = b'{"current_page":1,"data":[{"id":1,}' + body[-20:]
        elif "cut" in kinds:
            return await self._cut(request, body)
        return response

    async def _broken(
        self, request: web.Request, fault: Fault, headers: dict[str, str]
    ) -> web.StreamResponse | None:
        """Return the answer of a fault that does not need the correct one, or None."""
        if fault.kind == "status":
            text = _HTML_502.format(f"{fault.status} Server Error")
            return self._text(fault.status, text, headers)
        if fault.kind == "html":
            return self._text(200, _HTML_502.format("Технічні роботи"), headers)
        if fault.kind == "refuse":
            return self._refusal(headers, int(fault.seconds), always=bool(fault.seconds))
        if fault.kind == "stall":
            await self._wait(fault.seconds or 60.0)
        if fault.kind in ("stall", "reset"):
            _reset(request)
            return web.Response(status=499)
        return None

    async def _cut(self, request: web.Request, body: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.close()
        return response

    async def _wait(self, seconds: float) -> None:
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), seconds)

    def _limits(self, remaining: int) -> dict[str, str]:
        if not self._settings.requests_per_minute:
            return {}
        return {
            "X-RateLimit-Limit": str(self._settings.requests_per_minute),
            "X-RateLimit-Remaining": str(remaining),
        }

    def _refusal(self, headers: dict[str, str], seconds: int, *, always: bool = False) -> web.Response:
        said = self._settings.retry_after
        if always or (said != "missing" and seconds):
            headers = headers | {"Retry-After": "0" if said == "zero" and not always else str(seconds)}
        return self._json(Answer(429, {"message": "Too Many Attempts."}), headers)

    def _json(self, answer: Answer, headers: dict[str, str] | None = None) -> web.Response:
        body = msgspec.json.encode(answer.body)
        return web.Response(
            status=answer.status,
            body=body,
            content_type="application/json",
            headers={"Date": self._desk.date(), "Server": "nginx"} | (headers or {}),
        )

    def _text(self, status: int, text: str, headers: dict[str, str]) -> web.Response:
        every = {"Date": self._desk.date(), "Server": "nginx"} | headers
        return web.Response(status=status, text=text, content_type="text/html", headers=every)

    async def elsewhere(self, request: web.Request) -> web.Response:
        """Answer a path outside the API as KeyCRM's proxy does."""
        return self._text(404, NGINX_404, {})


async def undated(request: web.Request, response: web.StreamResponse) -> None:
    """Remove a Date header that a fault has emptied."""
    if response.headers.get("Date") == "":
        del response.headers["Date"]


def _reset(request: web.Request) -> None:
    """End the connection with a TCP reset."""
    transport = request.transport
    if transport is not None:
        transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
