"""Assets: style, script, icon, and the charts' library, each at an address that changes with its content.

Vega-Embed comes out of the ``vl-convert`` wheel. Making the bundle takes a second
or two and a JavaScript engine, so a process of its own makes it, once per version:
the result is kept in a folder of the temporary directory that only this user can enter.
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
FOREVER = "public, max-age=31536000, immutable"
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# The bundle declares hundreds of short names; in a function of its own they are not the page's.
MAKE = "import vl_convert; print('(() => {' + vl_convert.javascript_bundle() + '\\n})();')"


class Assets:
    """What the page loads. ``urls`` is ``{"app.js": "/static/app.<hash>.js"}``."""

    def __init__(self) -> None:
        self._vega: Future[CachedResponse] | None = None
        self._vega_name = f"vega.{digest(version('vl-convert-python').encode())}.js"
        self._held: dict[str, CachedResponse] = {}
        self.urls = {"vega.js": f"/static/{self._vega_name}"}
        for item in files("serve").joinpath("static").iterdir():
            stem, ending = os.path.splitext(item.name)
            if ending in TYPES:
                body = item.read_bytes()
                name = f"{stem}.{digest(body)}{ending}"
                self._held[name] = make_response(body, tag(name), TYPES[ending])
                self.urls[item.name] = f"/static/{name}"

    def start(self) -> None:
        """Begin to make the charts' library, in a thread."""
        thread = ThreadPoolExecutor(1, "vega")
        self._vega = thread.submit(self._make_vega)
        thread.shutdown(wait=False)

    def read(self, name: str) -> CachedResponse:
        """Return the asset of that name; waits for the charts' library. Raises NothingThere."""
        if name == self._vega_name and self._vega:
            return self._vega.result()
        if name not in self._held:
            raise NothingThere("no such file; load the page again")
        return self._held[name]

    def _make_vega(self) -> CachedResponse:
        body = vega_bundle(self._vega_name)
        return make_response(body, tag(self._vega_name), TYPES[".js"])


def vega_bundle(name: str) -> bytes:
    """Return the bundle, made now or found where an earlier start left it."""
    folder = cache_folder()
    kept = folder / name if folder else None
    if kept and kept.is_file():
        return kept.read_bytes()
    utf8 = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    body = subprocess.run([sys.executable, "-c", MAKE], check=True, capture_output=True, env=utf8).stdout
    if kept:
        with (
            contextlib.suppress(OSError),
            tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as fresh,
        ):
            fresh.write(body)
            os.replace(fresh.name, kept)
    log.info("serve.charts_bundled", bytes=len(body))
    return body


def cache_folder() -> Path | None:
    """Return the folder that keeps the bundle between starts; None if it can't be made or is not private."""
    with contextlib.suppress(OSError, LakeError):
        return private_folder("assets")
    return None


def digest(body: bytes) -> str:
    """Return a short name for bytes."""
    return hashlib.sha256(body).hexdigest()[:12]
