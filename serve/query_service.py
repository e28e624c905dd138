"""QueryService: reads the parameters, finds the release and runs the queries outside the event loop."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
from litestar import Response

from lake.errors import panics_as_errors
from serve.metrics import Metrics
from serve.params import WHICH, Param, read_pairs, read_params
from serve.reader import Reader
from serve.responses import AnyRequest, CachedResponse, ResponseCache, client_has, json_response, respond, tag
from serve.served_release import ServedRelease

Result = TypeVar("Result")
Report = Callable[[ServedRelease, dict[str, Any]], msgspec.Struct]
# Queries that run concurrently.
THREADS = 4


class QueryService:
    """The reader, the cached responses and the threads of the queries."""

    def __init__(self, reader: Reader, cache: ResponseCache, metrics: Metrics) -> None:
        self.reader = reader
        self.cache = cache
        self._metrics = metrics
        self._threads = ThreadPoolExecutor(THREADS, "query")

    async def ask(self, request: AnyRequest, params: Iterable[Param], report: Report) -> Response[Any]:
        """Return the response of a report, computed from the request's parameters.

        Raises BadQuestion, NotReady, NothingThere, and the errors of ``report``.
        """
        values = read_params((*params, *WHICH), read_pairs(request.scope["query_string"]))
        number = await self.number(values)
        values = {name: value for name, value in values.items() if name not in ("release", "as_of")}
        return await self.answer(
            request, number, repr(sorted(values.items())), lambda served: report(served, values)
        )

    async def number(self, values: Mapping[str, Any]) -> int:
        """Return the number of the release that ``release`` or ``as_of`` means.

        Raises NotReady, BadQuestion, NothingThere.
        """
        if values["as_of"] is None:
            return self.reader.number(values["release"])
        return await self.run(lambda: self.reader.resolve(values))

    async def answer(
        self,
        request: AnyRequest,
        number: int,
        parameters: str,
        compute: Callable[[ServedRelease], msgspec.Struct],
    ) -> Response[Any]:
        """Return the cached response, or the one that ``compute`` makes from the release.

        ``parameters`` distinguishes the request from all others with the same path.
        """

        def cached(served: ServedRelease) -> CachedResponse:
            etag = tag(served.key, request.scope["path"], parameters)
            response = self.cache.get(etag)
            if response is None and client_has(request, etag):
                return CachedResponse(b"", None, etag, "application/json", served.number)
            if response is None:
                with self._metrics.query_seconds.time():
                    response = json_response(compute(served), etag, served.number)
                self.cache.put(response)
            return response

        return respond(request, await self.run(lambda: self._with_release(number, cached)))

    async def run_quick(self, number: int, work: Callable[[], Result]) -> Result:
        """Run work that takes no time on an open release.

        For the current release it runs in the event loop and does not wait for queries. For another
        one it runs in a thread, because that release may have to be opened first.
        """
        return work() if number == self.reader.number() else await self.run(work)

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run blocking work in a thread. If the client disconnects, the work still runs to its end."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, panics_as_errors()(work))

    def close(self) -> None:
        """Stop the threads, then close the releases."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self.reader.close()

    def _with_release(self, number: int, work: Callable[[ServedRelease], Result]) -> Result:
        with self.reader.open(number) as served:
            return work(served)
