"""Server: runs one app with granian in this process, until SIGINT or SIGTERM.

With one process and one event loop, each release is opened once, and the app is
passed to granian as an object, settings included.
"""

import asyncio
import errno
import signal
import socket
from typing import Any

from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server.embed import Server
from litestar import Litestar
from litestar.types import ASGIApp

from lake.errors import LakeError

# Seconds between two attempts to connect to the server that is starting.
PROBE_EVERY = 0.02


class PortTaken(LakeError):
    """The server can't listen on the address."""


def run_server(app: Litestar, *, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM; print the URL when the server accepts connections. Raises PortTaken."""
    asyncio.run(serve(app, host=host, port=free_port(host, port)))


async def serve(app: Litestar, *, host: str, port: int) -> None:
    """Serve on a free port."""
    server = Server(
        support_head(app),
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        websockets=False,
        log_level=LogLevels.error,
    )
    loop = asyncio.get_running_loop()
    for stop in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(stop, server.stop)
    serving = asyncio.create_task(server.serve())
    announcing = asyncio.create_task(announce(host, port))
    try:
        await serving
    finally:
        announcing.cancel()


def support_head(app: ASGIApp) -> ASGIApp:
    """Return an app that answers HEAD like GET, without the body. Monitors send HEAD requests."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        async def send_head(message: Any) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        if scope["type"] == "http" and scope["method"] == "HEAD":
            as_get: Any = {**scope, "method": "GET"}
            await app(as_get, receive, send_head)
        else:
            await app(scope, receive, send)

    return answer


async def announce(host: str, port: int) -> None:
    """Print the dashboard's URL as soon as the server accepts a connection."""
    while True:
        try:
            _, writer = await asyncio.open_connection(reachable_host(host), port)
        except OSError:
            await asyncio.sleep(PROBE_EVERY)
            continue
        writer.close()
        print(f"dashboard at {dashboard_url(host, port)}", flush=True)
        return


def free_port(host: str, port: int) -> int:
    """Return the port, or any free one if it is 0. Raises PortTaken.

    The port is bound once to test it, because granian would share a port that is in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTaken(port_problem(host, port, error)) from None
        return int(probe.getsockname()[1])


def port_problem(host: str, port: int, error: OSError) -> str:
    """Return the message for an address that can't be bound: the reason and the next step."""
    if error.errno == errno.EADDRINUSE:
        return (
            f"{host}:{port} is in use; stop the server that listens there, or set KEYLAKE_SERVE_PORT "
            "(0: any free port)"
        )
    return (
        f"can't listen on {host}:{port}: {error.strerror or error}; set KEYLAKE_SERVE_HOST and "
        "KEYLAKE_SERVE_PORT"
    )


def reachable_host(host: str) -> str:
    """Return an address of this machine at which a server that listens on ``host`` answers."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)


def dashboard_url(host: str, port: int) -> str:
    """Return the dashboard's URL."""
    name = reachable_host(host)
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"
