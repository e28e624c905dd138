"""Server: granian in this process, around one app, from the first connection taken to SIGTERM.

One process and one loop, so that a release is opened once and the app can be handed
over as it is, settings included.
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

PROBE_EVERY = 0.02


class PortTaken(LakeError):
    """The address can't be listened on."""


def run_server(app: Litestar, *, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM; says where when it can be reached. Raises PortTaken."""
    asyncio.run(serve(app, host=host, port=free_port(host, port)))


async def serve(app: Litestar, *, host: str, port: int) -> None:
    """Serve on a port that is free."""
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
    """Return the app that answers HEAD as it would GET, without the body: monitors ask that way."""

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
    """Print the address once a connection is taken there."""
    while True:
        try:
            _, writer = await asyncio.open_connection(reachable(host), port)
        except OSError:
            await asyncio.sleep(PROBE_EVERY)
            continue
        writer.close()
        print(f"dashboard at {address(host, port)}", flush=True)
        return


def free_port(host: str, port: int) -> int:
    """Return the port, or a free one for 0, after trying it: granian would share a port that is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTaken(port_problem(host, port, error)) from None
        return int(probe.getsockname()[1])


def port_problem(host: str, port: int, error: OSError) -> str:
    """Return what is wrong with the address and what to do."""
    if error.errno == errno.EADDRINUSE:
        return (
            f"{host}:{port} is in use; stop what listens there, or set KEYLAKE_SERVE_PORT (0: any free port)"
        )
    return f"{host}:{port} can't be listened on: {error.strerror or error}; set KEYLAKE_SERVE_HOST and _PORT"


def reachable(host: str) -> str:
    """Return an address at which a server on ``host`` answers this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)


def address(host: str, port: int) -> str:
    """Return the dashboard's URL."""
    name = reachable(host)
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"
