"""The application: routes, what lives as long as it, and which status an error becomes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

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
# No unsafe-eval: the charts' expressions are interpreted, see `ast` in app.js.
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
    """Return the app over the lake that the settings name. It only ever reads the lake."""
    settings, limits = config.section(ServeSettings), config.section(LakeSettings)
    reader = Reader(limits.lake, limits, settings)
    metrics, assets = Metrics(reader), Assets()
    service = QueryService(reader, ResponseCache(settings.cache_mb * 1_000_000), metrics)

    @contextlib.asynccontextmanager
    async def life(_: Litestar) -> AsyncIterator[None]:
        await service.run(reader.refresh)
        watching = asyncio.create_task(reader.watch())
        assets.start()
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
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
        lifespan=[life],
        before_send=[before_send],
        exception_handlers={Exception: refuse},
        openapi_config=describe(assets.urls),
        plugins=[ExactNumbers()],
        logging_config=None,
        debug=False,
    )


@get("/metrics", include_in_schema=False, media_type="text/plain; version=0.0.4")
async def metrics_page(metrics: Metrics) -> Response[bytes]:
    """Return the metrics."""
    return Response(metrics.text(), headers={"Cache-Control": "no-store"})


def refuse(request: AnyRequest, error: Exception) -> Response[Any]:
    """Return the reason, in one line, with the status that belongs to it."""
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
    """Return what a caller may know of an error."""
    for kind, status in STATUSES.items():
        if isinstance(error, kind):
            return status, str(error)
    if isinstance(error, HTTPException) and error.status_code < 500:
        return error.status_code, HTTPStatus(error.status_code).description or HTTPStatus(
            error.status_code
        ).phrase
    return 500, "the server failed; its log says why"


def route_of(scope: Scope) -> str:
    """Return the route's own pattern, so that no caller can make new labels."""
    return str(scope.get("path_template") or "none")
