"""Browser: a real Chromium, driven over its DevTools protocol, as far as the dashboard's tests need it."""

import asyncio
import base64
import contextlib
import itertools
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-quic",
    "--remote-debugging-port=0",
)
PATIENCE = 120


class Page:
    """One tab. ``complaints`` has the errors and warnings of its console and the failed requests."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._urls: dict[str, str] = {}
        self.complaints: list[str] = []
        self.requested: list[str] = []

    async def listen(self) -> None:
        """Receive the browser's messages until it closes."""
        async for message in self._socket:
            answer = message.json()
            if "id" in answer:
                self._waiting.pop(answer["id"]).set_result(answer)
            else:
                self._record(answer["method"], answer["params"])

    def _record(self, event: str, facts: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self._urls[facts["requestId"]] = facts["request"]["url"]
            self.requested.append(facts["request"]["url"])
        elif event == "Network.loadingFailed" and not facts.get("canceled"):
            self.complaints.append(f"{self._urls.get(facts['requestId'])}: {facts['errorText']}")
        elif event == "Network.responseReceived" and facts["response"]["status"] >= 400:
            self.complaints.append(f"{facts['response']['url']}: {facts['response']['status']}")
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(str(facts["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and facts["type"] in ("error", "warning", "assert"):
            self.complaints.append(
                str([item.get("value", item.get("description")) for item in facts["args"]])
            )
        elif event == "Log.entryAdded" and facts["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{facts['entry']['text']} {facts['entry'].get('url', '')}")

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        answer = await asyncio.wait_for(self._waiting[number], PATIENCE)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    async def run(self, script: str) -> Any:
        """Return the value of an expression on the page; if it is a promise, wait for it."""
        answer = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    async def until(self, condition: str) -> None:
        """Return when the expression is true; it is evaluated at every frame."""
        is_true = await self.run(
            f"new Promise((done) => {{ const start = Date.now(); (function look() {{"
            f" if ({condition}) done(true);"
            f" else if (Date.now() - start > {(PATIENCE - 5) * 1000}) done(false);"
            f" else requestAnimationFrame(look); }})(); }})"
        )
        assert is_true, f"{condition} did not become true; the browser's complaints: {self.complaints}"

    async def open(self, url: str) -> None:
        """Open a URL and wait until its charts are drawn."""
        await self.call("Page.navigate", url=url)
        await self.until("document.documentElement && document.documentElement.dataset.drawn")

    async def set_window(self, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Set the size of the window in pixels and the colour scheme that the user prefers."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        await self.call("Emulation.setScrollbarsHidden", hidden=True)
        scheme = "dark" if dark else "light"
        await self.call(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
        )

    async def picture(self, file: Path) -> None:
        """Write a PNG of the whole page."""
        answer = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(answer["data"]))


@contextlib.asynccontextmanager
async def open_page(folder: Path) -> AsyncIterator[Page]:
    """Start a browser with a new profile in ``folder`` and yield an empty tab."""
    assert CHROMIUM
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        *FLAGS,
        f"--user-data-dir={folder}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    draining: asyncio.Task[bytes] | None = None
    try:
        assert process.stderr
        port = await asyncio.wait_for(read_port(process.stderr), PATIENCE)
        draining = asyncio.create_task(process.stderr.read())
        async with aiohttp.ClientSession() as http:
            async with http.get(f"http://127.0.0.1:{port}/json/list") as response:
                [tab, *_] = [item for item in await response.json() if item["type"] == "page"]
            async with http.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                page = Page(socket)
                listening = asyncio.create_task(page.listen())
                for domain in ("Page", "Runtime", "Network", "Log"):
                    await page.call(f"{domain}.enable")
                yield page
                listening.cancel()
    finally:
        with contextlib.suppress(ProcessLookupError):  # its helpers too: a live one would keep the pipe open
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        if draining:
            draining.cancel()


async def read_port(stream: asyncio.StreamReader) -> int:
    """Return the port that the browser prints when it listens."""
    async for line in stream:
        if b"DevTools listening on" in line:
            return int(line.split(b"127.0.0.1:")[1].split(b"/")[0])
    raise RuntimeError("the browser ended before it listened")
