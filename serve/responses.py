"""Answer: the bytes that go out for one question about one release.

A release never changes, so neither does an answer about it: its ETag is the release
and the question, an answer given once is given again from memory, and a client that
still holds it gets 304.
"""

import gzip
import hashlib
import threading
from collections import OrderedDict
from typing import Any

import msgspec
from litestar import Request, Response

AnyRequest = Request[Any, Any, Any]
WORTH_PACKING = 1024
encoder = msgspec.json.Encoder(decimal_format="number")


class CachedResponse(msgspec.Struct, frozen=True):
    """A body, plain and packed; ``release`` is named in a header of its own."""

    body: bytes
    packed: bytes | None
    etag: str
    media_type: str
    release: int | None = None

    @property
    def size(self) -> int:
        """What it takes in memory."""
        return len(self.body) + len(self.packed or b"") + 200


class ResponseCache:
    """The answers given last, up to a number of bytes."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._held: OrderedDict[str, CachedResponse] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, etag: str) -> CachedResponse | None:
        """Return the answer of that tag, if it is still held."""
        with self._lock:
            if found := self._held.get(etag):
                self._held.move_to_end(etag)
            return found

    def put(self, answer: CachedResponse) -> None:
        """Hold the answer; the ones not asked for the longest make room."""
        with self._lock:
            if answer.etag in self._held or answer.size > self._most // 4:
                return
            self._held[answer.etag] = answer
            self._size += answer.size
            while self._size > self._most:
                _, oldest = self._held.popitem(last=False)
                self._size -= oldest.size


def json_response(found: msgspec.Struct, etag: str, release: int | None = None) -> CachedResponse:
    """Return a Struct as an answer."""
    return make_response(encoder.encode(found), etag, "application/json", release)


def make_response(body: bytes, etag: str, media_type: str, release: int | None = None) -> CachedResponse:
    """Return bytes as an answer, packed where that saves anything."""
    packed = gzip.compress(body, 5, mtime=0) if len(body) >= WORTH_PACKING else None
    return CachedResponse(body, packed, etag, media_type, release)


def tag(*parts: str) -> str:
    """Return an ETag for what the parts name; weak, as the packed body has the same."""
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]
    return f'W/"{parts[0]}-{digest}"'


def client_has(request: AnyRequest, etag: str) -> bool:
    """True where the client says that it has this answer."""
    told = request.headers.get("if-none-match", "")
    held = {item.strip().removeprefix("W/") for item in told.split(",")}
    return etag.removeprefix("W/") in held


def respond(request: AnyRequest, answer: CachedResponse, *, caching: str = "no-cache") -> Response[Any]:
    """Return the response: 304 where the client has it, packed where the client can unpack."""
    headers = {"ETag": answer.etag, "Cache-Control": caching, "Vary": "Accept-Encoding"}
    if answer.release is not None:
        headers["Keylake-Release"] = str(answer.release)
    if client_has(request, answer.etag):
        return Response(b"", status_code=304, headers=headers)
    packs = any(
        part.split(";")[0].strip() == "gzip" and "q=0" not in part.replace(" ", "").split(";")
        for part in request.headers.get("accept-encoding", "").split(",")
    )
    if answer.packed is not None and packs:
        return Response(
            answer.packed, media_type=answer.media_type, headers=headers | {"Content-Encoding": "gzip"}
        )
    return Response(answer.body, media_type=answer.media_type, headers=headers)
