"""Assets: the style, the script, the icon and the chart library, each at a URL with a hash of its content.

The chart library is Vega-Embed, bundled by the ``vl-convert`` wheel. Bundling takes a
second or two and a JavaScript engine, so a separate process does it, once per version.
The bundle is cached in a private folder of the temporary directory.
"""

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import structlog

from lake.errors import LakeError
from lake.paths import private_folder
from serve.errors import NothingThere
from serve.responses import CachedResponse, make_response, tag

log = structlog.get_logger()
# Cache-Control of a URL whose content never changes; the age is one year in seconds.
FOREVER = "public, max-age=31536000, immutable"
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# Program that prints the bundle. It wraps the bundle in a function, so that its names are not global.
MAKE_BUNDLE = "import vl_convert; print('(() => {' + vl_convert.javascript_bundle() + '\\n})();')"


class Assets:
    """Files that the pages load; ``urls`` maps a file to its URL: ``{"app.js": "/static/app.<hash>.js"}``."""

    def __init__(self) -> None:
        self._vega: Future[CachedResponse] | None = None
        self._vega_name = f"vega.{digest(version('vl-convert-python').encode())}.js"
        self._responses: dict[str, CachedResponse] = {}
        self.urls = {"vega.js": f"/static/{self._vega_name}"}
        for item in files("serve").joinpath("static").iterdir():
            stem, ending = os.path.splitext(item.name)
            if ending in TYPES:
                body = item.read_bytes()
                name = f"{stem}.{digest(body)}{ending}"
                self._responses[name] = make_response(body, tag(name), TYPES[ending])
                self.urls[item.name] = f"/static/{name}"

    def start(self) -> None:
        """Start to bundle the chart library in a thread."""
        thread = ThreadPoolExecutor(1, "vega")
        self._vega = thread.submit(self._make_vega)
        thread.shutdown(wait=False)

    def read(self, name: str) -> CachedResponse:
        """Return the asset with that name, waiting for the chart library if needed. Raises NothingThere."""
        if name == self._vega_name and self._vega:
            return self._vega.result()
        if name not in self._responses:
            raise NothingThere("no such file; load the page again")
        return self._responses[name]

    def _make_vega(self) -> CachedResponse:
        body = vega_bundle(self._vega_name)
        return make_response(body, tag(self._vega_name), TYPES[".js"])


def vega_bundle(name: str) -> bytes:
    """Return the bundle from the cache; if it is not there, make and cache it."""
    folder = cache_folder()
    cached = folder / name if folder else None
    if cached and cached.is_file():
        return cached.read_bytes()
    utf8 = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    body = subprocess.run(
        [sys.executable, "-c", MAKE_BUNDLE], check=True, capture_output=True, env=utf8
    ).stdout
    if cached:
        with (
            contextlib.suppress(OSError),
            tempfile.NamedTemporaryFile(dir=cached.parent, delete=False) as fresh,
        ):
            fresh.write(body)
            os.replace(fresh.name, cached)
    log.info("serve.charts_bundled", bytes=len(body))
    return body


def cache_folder() -> Path | None:
    """Return the folder of the cached bundle; None if it can't be created or is not private."""
    with contextlib.suppress(OSError, LakeError):
        return private_folder("assets")
    return None


def digest(body: bytes) -> str:
    """Return 12 hexadecimal digits that identify the bytes."""
    return hashlib.sha256(body).hexdigest()[:12]
