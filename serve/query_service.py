"""QueryService: reads the parameters, finds the release and runs the queries outside the event loop."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
from litestar import Response

from serve.metrics import Metrics
from serve.params import WHICH, Param, read_pairs, read_params
from serve.reader import Reader
from serve.responses import AnyRequest, CachedResponse, ResponseCache, client_has, json_response, respond, tag
from serve.served_release import ServedRelease

Found = TypeVar("Found")
Question = Callable[[ServedRelease, dict[str, Any]], msgspec.Struct]
THREADS = 4


class QueryService:
    """The reader, the answers already given, and the threads in which queries run."""

    def __init__(self, reader: Reader, cache: ResponseCache, metrics: Metrics) -> None:
        self.reader = reader
        self.cache = cache
        self._metrics = metrics
        self._threads = ThreadPoolExecutor(THREADS, "query")

    async def ask(
        self,
        request: AnyRequest,
        params: Iterable[Param],
        question: Question,
    ) -> Response[Any]:
        """Answer a question whose parameters are declared; raises BadQuestion, and what it raises."""
        values = read_params((*params, *WHICH), read_pairs(request.scope["query_string"]))
        number = await self.number(values)
        values = {name: value for name, value in values.items() if name not in ("release", "as_of")}
        return await self.answer(
            request, number, repr(sorted(values.items())), lambda held: question(held, values)
        )

    async def number(self, values: Mapping[str, Any]) -> int:
        """Return the number of the release that ``release`` or ``as_of`` means.

        Raises NotReady, BadQuestion, NothingThere.
        """
        if values["as_of"] is None:
            return self.reader.number(values["release"])
        return await self.run(lambda: self.reader.resolve(values))

    async def answer(
        self, request: AnyRequest, number: int, question: str, work: Callable[[ServedRelease], msgspec.Struct]
    ) -> Response[Any]:
        """Answer from memory, or by running ``work`` on the release.

        ``question`` tells this one from all others at the same address.
        """

        def found(served: ServedRelease) -> CachedResponse:
            etag = tag(served.key, request.scope["path"], question)
            answer = self.cache.get(etag)
            if answer is None and client_has(request, etag):
                return CachedResponse(b"", None, etag, "application/json", served.number)
            if answer is None:
                with self._metrics.query_seconds.time():
                    answer = json_response(work(served), etag, served.number)
                self.cache.put(answer)
            return answer

        return respond(request, await self.run(lambda: self._with_session(number, found)))

    async def run_quick(self, number: int, work: Callable[[], Found]) -> Found:
        """Do what takes no time on a release that is open; it waits for no query. Others are opened first."""
        return work() if number == self.reader.number() else await self.run(work)

    async def run(self, work: Callable[[], Found]) -> Found:
        """Run blocking work in a thread. A caller that goes away does not stop it half-way."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _with_session(self, number: int, work: Callable[[ServedRelease], Found]) -> Found:
        with self.reader.open(number) as served:
            return work(served)

    def close(self) -> None:
        """End the threads, then the sessions."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self.reader.close()
