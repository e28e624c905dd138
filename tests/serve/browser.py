"""A real Chromium, driven over its DevTools protocol: as much of it as the dashboard's tests need."""

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
    """One tab. ``complaints`` is everything a developer would see in red."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._urls: dict[str, str] = {}
        self.complaints: list[str] = []
        self.requested: list[str] = []

    async def listen(self) -> None:
        """Take what the browser says until it closes."""
        async for message in self._socket:
            told = message.json()
            if "id" in told:
                self._waiting.pop(told["id"]).set_result(told)
            else:
                self._hear(told["method"], told["params"])

    def _hear(self, event: str, facts: dict[str, Any]) -> None:
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
        told = await asyncio.wait_for(self._waiting[number], PATIENCE)
        if "error" in told:
            raise RuntimeError(f"{method}: {told['error']}")
        result: dict[str, Any] = told["result"]
        return result

    async def run(self, script: str) -> Any:
        """Return the value of an expression on the page; promises are awaited."""
        told = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in told:
            raise RuntimeError(f"{script}: {told['exceptionDetails']}")
        return told["result"].get("value")

    async def until(self, condition: str) -> None:
        """Return when the expression is true, looking at every frame."""
        came = await self.run(
            f"new Promise((done) => {{ const start = Date.now(); (function look() {{"
            f" if ({condition}) done(true);"
            f" else if (Date.now() - start > {(PATIENCE - 5) * 1000}) done(false);"
            f" else requestAnimationFrame(look); }})(); }})"
        )
        assert came, f"waited in vain for {condition}; the browser said: {self.complaints}"

    async def open(self, url: str) -> None:
        """Go to an address and wait until its charts are drawn."""
        await self.call("Page.navigate", url=url)
        await self.until("document.documentElement && document.documentElement.dataset.drawn")

    async def look(self, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Set the size of the window and the colours that the user prefers."""
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
        told = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(told["data"]))


@contextlib.asynccontextmanager
async def open_page(folder: Path) -> AsyncIterator[Page]:
    """Start a browser with a profile of its own in ``folder`` and yield an empty tab."""
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
        with contextlib.suppress(ProcessLookupError):  # with its helpers: one that lives on holds the pipe
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        if draining:
            draining.cancel()


async def read_port(stream: asyncio.StreamReader) -> int:
    """Return the port that the browser says it listens on."""
    async for line in stream:
        if b"DevTools listening on" in line:
            return int(line.split(b"127.0.0.1:")[1].split(b"/")[0])
    raise RuntimeError("the browser ended before it listened")
