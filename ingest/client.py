"""KeyCRM over aiohttp: send within the budget, and retry if the error may pass."""

import asyncio
import random
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, TypeVar
from urllib.request import getproxies, proxy_bypass

import aiohttp
import msgspec
import structlog
from yarl import URL

from ingest.entities import ORDERS, Entity
from ingest.limiter import Limiter
from ingest.protocol import (
    Page,
    Request,
    clock_of,
    error_of,
    first_request,
    list_request,
    object_request,
    read_object,
    read_page,
)
from ingest.settings import SourceSettings
from ingest.windows import Window
from lake.errors import ConfigError, NotFound, RateLimited, SourceDown
from lake.ledgers.origin import is_sandbox

log = structlog.get_logger()
Answer = TypeVar("Answer")
MICROSECOND = timedelta(microseconds=1)
# Difference to the newest stamp in the lake from which this machine's clock is reported as wrong.
SKEW = timedelta(minutes=1)
# Attempts after a 429, more than after a failure: the source works and asks only to wait.
RATE_LIMIT_ATTEMPTS = 20
# Longest pause between two attempts, in seconds.
LONGEST_WAIT = 60.0


class Arrival(msgspec.Struct, frozen=True):
    """A page and its arrival time by this machine's clock: UTC, no two are equal."""

    page: Page
    number: int
    fetched_at: datetime


class Client:
    """A connection to the CRM, open for one run.

    ``requests``, ``retries`` and the limiter's ``waited`` go into the receipt. ``now`` is the CRM's
    own time in its last answer.
    """

    def __init__(self, settings: SourceSettings, *, key: str, limiter: Limiter) -> None:
        self.settings = settings
        self.limiter = limiter
        self.requests = 0
        self.retries = 0
        self._proxy = proxy_of(settings.base_url)
        self._headers = {"Authorization": f"Bearer {key}", "Accept": "application/json"}
        self._clock: datetime | None = None
        self._last_stamp = datetime.min.replace(tzinfo=UTC)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Client":
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self.settings.timeout_seconds),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session:
            await self._session.close()
        self.limiter.close()

    @property
    def now(self) -> datetime:
        """The CRM's clock, or this machine's if no answer had a time yet."""
        return self._clock or datetime.now(UTC)

    def stamp_after(self, newest: datetime | None) -> None:
        """Make all later stamps greater than the newest one in the lake.

        A machine's clock may step back. If an observation were stamped earlier than the one before
        it, readers would never see its new state.
        """
        if newest is None:
            return
        if newest > datetime.now(UTC) + SKEW:
            log.warning("ingest.clock_is_behind", lake_holds=newest.isoformat())
        if newest >= datetime.now(UTC):
            # A random offset keeps the stamps of two concurrent runs apart: the stamp is what ties an order's
            # lines to one observation.
            newest += MICROSECOND * secrets.randbelow(1_000_000)
        self._last_stamp = max(self._last_stamp, newest)

    async def fetch_page(self, entity: Entity, window: Window, number: int) -> Arrival:
        """Fetch one page of a window.

        Raises SourceDown after the last retry, and KeyRefused, RequestRefused or NotFound without one.
        """
        request = list_request(entity, window, number)
        return await self._send(
            request, lambda body: self._arrival(read_page(body, expected_page=number), number)
        )

    async def fetch_first(self, entity: Entity, *, newest: bool = False) -> Arrival:
        """Fetch the row with the smallest id, or the greatest, as a page of one row; its total counts all."""
        request = first_request(entity, newest=newest)
        return await self._send(request, lambda body: self._arrival(read_page(body, expected_page=1), 1))

    async def read_clock(self) -> None:
        """Send the smallest request there is if the CRM's clock is not known yet."""
        if self._clock is None:
            await self.fetch_first(ORDERS)

    async def fetch_object(self, entity: Entity, object_id: int) -> tuple[bytes | None, datetime]:
        """Fetch one object by its id; return its bytes, None after a 404, and the arrival time."""
        try:
            request = object_request(entity, object_id)
            body = await self._send(request, lambda answer: read_object(answer, expected_id=object_id))
        except NotFound:
            return None, self._stamp()
        return body, self._stamp()

    def _arrival(self, page: Page, number: int) -> Arrival:
        return Arrival(page, number, self._stamp())

    def _stamp(self) -> datetime:
        self._last_stamp = max(datetime.now(UTC), self._last_stamp + MICROSECOND)
        return self._last_stamp

    async def _send(self, request: Request, read: Callable[[bytes], Answer]) -> Answer:
        """Send until there is an answer; each attempt takes a place in the budget."""
        failures = refusals = 0
        while True:
            try:
                return read(await self._try(request))
            except RateLimited as refusal:
                refusals += 1
                if refusals > RATE_LIMIT_ATTEMPTS:
                    raise
                wait = refusal.retry_after or backoff(refusals, self.settings.backoff_seconds * 5)
                self.limiter.pause(wait)
                reason = str(refusal)
            except SourceDown as failure:
                failures += 1
                if failures >= self.settings.attempts:
                    raise SourceDown(f"{request.path}: gave up after {failures} tries: {failure}") from None
                wait = backoff(failures, self.settings.backoff_seconds)
                reason = str(failure)
            self.retries += 1
            log.warning("ingest.retry", path=request.path, reason=reason, wait_seconds=round(wait, 2))
            await asyncio.sleep(wait)

    async def _try(self, request: Request) -> bytes:
        assert self._session, "the client is used inside `async with`"
        url = URL(self.settings.base_url.rstrip("/") + request.path).with_query(list(request.query))
        try:
            async with self.limiter.slot():
                self.requests += 1
                # aiohttp would send headers of the session, and with them the key, to a proxy too.
                async with self._session.get(
                    url,
                    headers=self._headers,
                    allow_redirects=False,
                    middlewares=(single_send(),),
                    **self._proxy,
                ) as response:
                    body = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise SourceDown(f"{self.settings.base_url}: {type(error).__name__} {error}".strip()) from None
        if refusal := error_of(response.status, response.headers, body):
            raise refusal
        self._clock = clock_of(response.headers) or self._clock
        return body


def single_send() -> aiohttp.ClientMiddlewareType:
    """Return a middleware that sends a request only once.

    If a connection is lost, aiohttp would send the request again by itself, outside the budget.
    """
    sent = False

    async def send(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        nonlocal sent
        if sent:
            raise aiohttp.ClientConnectionError("the connection was lost")
        sent = True
        return await handler(request)

    return send


def backoff(attempt: int, base: float) -> float:
    """Return the seconds to wait before the next attempt: doubling, with full jitter.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return random.uniform(0.5, 1.0) * min(base * 2.0 ** (attempt - 1), LONGEST_WAIT)


def proxy_of(base_url: str) -> dict[str, Any]:
    """Return a request's arguments for the proxy that the environment names for the source; empty for none.

    ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` count, in either case. A source on this
    machine is always asked directly. aiohttp's own ``trust_env`` would also read a password for it from
    ``~/.netrc``. Raises ConfigError for a proxy that is not an HTTP proxy, or has no usable address.
    """
    url = URL(base_url)
    if is_sandbox(base_url) or proxy_bypass(url.host or ""):
        return {}
    proxies = getproxies()
    scheme = url.scheme if proxies.get(url.scheme) else "all"
    address = proxies.get(scheme)
    if not address:
        return {}
    variable = f"{scheme.upper()}_PROXY"
    address = address if "://" in address else f"http://{address}"
    if not address.lower().startswith(("http://", "https://")):
        raise ConfigError(
            f"{variable} is no HTTP proxy, and no other one is supported; write http://host:port"
        )
    try:
        proxy = URL(address)
        # A login can't have a colon in its user.
        login = aiohttp.encode_basic_auth(proxy.user, proxy.password or "") if proxy.user else ""
        is_usable = bool(proxy.host and proxy.port and proxy.path in ("", "/"))
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ConfigError(f"{variable} is no address; write http://host:port, and escape a password")
    # aiohttp sends this as Proxy-Authorization, with a plain request and with CONNECT.
    headers = {"proxy_headers": {"Authorization": login}} if login else {}
    return {"proxy": proxy.with_user(None), **headers}
