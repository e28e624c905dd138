"""Responses: the bytes that answer one request on one release, and a cache of them.

A release never changes, so neither does a response computed from it. Its ETag is made
from the release and the request. A repeated request is answered from the cache, and a
client that sends the ETag gets 304.
"""

import gzip
import hashlib
import threading
from collections import OrderedDict
from typing import Any

import msgspec
from litestar import Request, Response

AnyRequest = Request[Any, Any, Any]
# Bytes from which a body is compressed.
MIN_COMPRESSED = 1024
# Bytes of a cached response in addition to its bodies.
OVERHEAD = 200
encoder = msgspec.json.Encoder(decimal_format="number")


class CachedResponse(msgspec.Struct, frozen=True):
    """A body, plain and with gzip; ``packed`` is None if the body is too short to compress.

    ``release`` is the number for the header Keylake-Release; None leaves the header out.
    """

    body: bytes
    packed: bytes | None
    etag: str
    media_type: str
    release: int | None = None

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return len(self.body) + len(self.packed or b"") + OVERHEAD


class ResponseCache:
    """The responses used last, limited to ``max_bytes`` in memory. Safe for threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._responses: OrderedDict[str, CachedResponse] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, etag: str) -> CachedResponse | None:
        """Return the response with that ETag; None if it is not in the cache."""
        with self._lock:
            if response := self._responses.get(etag):
                self._responses.move_to_end(etag)
            return response

    def put(self, response: CachedResponse) -> None:
        """Add the response and evict the least recently used; one larger than a quarter is not added."""
        with self._lock:
            if response.etag in self._responses or response.size > self._max_bytes // 4:
                return
            self._responses[response.etag] = response
            self._size += response.size
            while self._size > self._max_bytes:
                _, oldest = self._responses.popitem(last=False)
                self._size -= oldest.size


def json_response(body: msgspec.Struct, etag: str, release: int | None = None) -> CachedResponse:
    """Return the response whose body is a Struct as JSON."""
    return make_response(encoder.encode(body), etag, "application/json", release)


def make_response(body: bytes, etag: str, media_type: str, release: int | None = None) -> CachedResponse:
    """Return the response with this body, compressed too if it is long enough."""
    packed = gzip.compress(body, 5, mtime=0) if len(body) >= MIN_COMPRESSED else None
    return CachedResponse(body, packed, etag, media_type, release)


def tag(*parts: str) -> str:
    """Return the ETag of the parts. It is weak, because the plain and the compressed body share it."""
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]
    return f'W/"{parts[0]}-{digest}"'


def client_has(request: AnyRequest, etag: str) -> bool:
    """True if the request's If-None-Match names this ETag."""
    header = request.headers.get("if-none-match", "")
    etags = {item.strip().removeprefix("W/") for item in header.split(",")}
    return etag.removeprefix("W/") in etags


def respond(request: AnyRequest, response: CachedResponse, *, caching: str = "no-cache") -> Response[Any]:
    """Return Litestar's response: 304 if the client has the body; gzip if the client accepts it."""
    headers = {"ETag": response.etag, "Cache-Control": caching, "Vary": "Accept-Encoding"}
    if response.release is not None:
        headers["Keylake-Release"] = str(response.release)
    if client_has(request, response.etag):
        return Response(b"", status_code=304, headers=headers)
    if response.packed is not None and _accepts_gzip(request):
        return Response(
            response.packed, media_type=response.media_type, headers=headers | {"Content-Encoding": "gzip"}
        )
    return Response(response.body, media_type=response.media_type, headers=headers)


def _accepts_gzip(request: AnyRequest) -> bool:
    return any(
        part.split(";")[0].strip() == "gzip" and "q=0" not in part.replace(" ", "").split(";")
        for part in request.headers.get("accept-encoding", "").split(",")
    )
