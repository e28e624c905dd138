"""App: its routes, its lifespan, and the HTTP status of each error."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar import Litestar, Response, get
from litestar.datastructures import MutableScopeHeaders
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.types import Message, Scope

from lake.config import Config
from lake.settings import LakeSettings
from serve import api, dashboard
from serve.assets import Assets
from serve.errors import BadQuestion, NothingThere, NotReady, TooSlow
from serve.metrics import Metrics
from serve.openapi import ExactNumbers, describe
from serve.query_service import QueryService
from serve.reader import Reader
from serve.responses import AnyRequest, ResponseCache
from serve.schemas import Problem
from serve.settings import ServeSettings

log = structlog.get_logger()
STATUSES: dict[type[Exception], int] = {BadQuestion: 400, NothingThere: 404, NotReady: 503, TooSlow: 503}
# Response headers. The policy needs no unsafe-eval: app.js sets `ast`, so Vega interprets expressions.
SECURITY = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def create_app(config: Config) -> Litestar:
    """Return the app for the lake in the settings. It reads the lake and changes no file in it."""
    settings, limits = config.section(ServeSettings), config.section(LakeSettings)
    reader = Reader(msgspec.structs.replace(limits.lake, read_only=True), limits, settings)
    metrics, assets = Metrics(reader), Assets()
    service = QueryService(reader, ResponseCache(settings.cache_mb * 1_000_000), metrics)

    @contextlib.asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        await service.run(reader.refresh)
        watcher = asyncio.create_task(reader.watch())
        assets.start()
        try:
            yield
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
            service.close()

    async def before_send(message: Message, scope: Scope) -> None:
        if message["type"] == "http.response.start":
            headers = MutableScopeHeaders.from_message(message)
            for name, value in SECURITY.items():
                headers[name] = value
            metrics.requests.labels(route_of(scope), str(message["status"])).inc()

    return Litestar(
        route_handlers=[*api.ROUTES, *dashboard.ROUTES, metrics_page],
        dependencies={
            "service": Provide(lambda: service, sync_to_thread=False),
            "metrics": Provide(lambda: metrics, sync_to_thread=False),
            "assets": Provide(lambda: assets, sync_to_thread=False),
        },
        lifespan=[lifespan],
        before_send=[before_send],
        exception_handlers={Exception: error_response},
        openapi_config=describe(assets.urls),
        plugins=[ExactNumbers()],
        logging_config=None,
        debug=False,
    )


@get("/metrics", include_in_schema=False, media_type="text/plain; version=0.0.4")
async def metrics_page(metrics: Metrics) -> Response[bytes]:
    """Return the metrics in Prometheus's text format."""
    return Response(metrics.text(), headers={"Cache-Control": "no-store"})


def error_response(request: AnyRequest, error: Exception) -> Response[Any]:
    """Return the error's status and its reason in one line; log it if the server failed."""
    status, detail = status_and_detail(error)
    if status >= 500 and not isinstance(error, NotReady):
        log.error(
            "serve.failed",
            path=request.url.path,
            kind=type(error).__name__,
            reason=" ".join(str(error).split()),
        )
    headers = {"Cache-Control": "no-store"} | dict(getattr(error, "headers", None) or {})
    return Response(Problem(detail), status_code=status, media_type="application/json", headers=headers)


def status_and_detail(error: Exception) -> tuple[int, str]:
    """Return the status of an error and the text for the client; an unexpected error hides its own text."""
    for kind, status in STATUSES.items():
        if isinstance(error, kind):
            return status, str(error)
    if isinstance(error, HTTPException) and error.status_code < 500:
        return error.status_code, HTTPStatus(error.status_code).description or HTTPStatus(
            error.status_code
        ).phrase
    return 500, "the server failed; its log has the reason"


def route_of(scope: Scope) -> str:
    """Return the pattern of the route, not the URL, so that clients can't create new labels."""
    return str(scope.get("path_template") or "none")
