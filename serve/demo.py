"""The whole way, once, on this machine: a living shop, its lake, and the page that follows it.

Every part is the real command in a process of its own, as an operator would start
it; only the addresses, the pace and the request budget are the demo's.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console

from lake.cli.output import show
from lake.config import PREFIX, read_config
from lake.errors import LakeError, UsageError
from lake.ledgers.origin import is_sandbox, read_origin
from lake.ledgers.runs import last_runs
from lake.paths import Lake, private_folder
from lake.query.session import fetch, open_session
from lake.releases.release import find_release
from lake.settings import LakeSettings
from serve.settings import ServeSettings

READY_SECONDS = 120
FIGURES = """
select
    coalesce(sales_type, 'all') as sales_type,
    sum(revenue) as revenue,
    sum(orders_count) as orders,
    (
        ((sum(revenue) * 200)::hugeint + sum(orders_count)) // (2 * sum(orders_count)) * 0.01
    )::decimal(18, 2) as avg_check,
    min(date) as since,
    max(date) as until
from gold.revenue_daily
group by rollup (sales_type)
order by sales_type nulls last
"""
# What the demo chooses where the caller did not: a shop day in two minutes, no waiting.
CHOICES = {
    "KEYCRM_API_KEY": "sandbox",
    "KEYLAKE_SANDBOX_DAY_SECONDS": "120",
    "KEYLAKE_SANDBOX_REQUESTS_PER_MINUTE": "0",
    "KEYLAKE_SOURCE_REQUESTS_PER_MINUTE": "100000",
    "KEYLAKE_INGEST_EVERY_MINUTES": '{"products": 1, "offers": 1}',
    "KEYLAKE_SCHEDULE_SYNC_EVERY_SECONDS": "3",
    "KEYLAKE_SCHEDULE_UPKEEP": "false",
}
console = Console(stderr=True, highlight=False, soft_wrap=True)


def run_demo(lake: Lake, settings: LakeSettings, *, once: bool) -> None:
    """Run the demo until interrupted; with ``once`` print the published figures and return.

    Raises UsageError on a lake that a real CRM has filled.
    """
    origin = read_origin(lake)
    if origin and not is_sandbox(origin):
        raise UsageError(
            f"{lake.place} was filled from {origin}; the demo would mix its shop into it:"
            f" set {PREFIX}LAKE_ROOT to an empty folder"
        )
    complete = last_runs(lake)[1]
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    environ = {**CHOICES, **os.environ}
    clock = complete.source_time if complete else None
    with only_one(lake), sandbox(environ, clock=clock) as url:
        environ[f"{PREFIX}SOURCE_BASE_URL"] = url
        call(environ, "ingest", "incremental" if complete else "full")
        call(environ, "transform")
        if once:
            show(fetch(open_session(lake, settings, find_release(lake, None)), FIGURES), "table")
            return
        with contextlib.suppress(KeyboardInterrupt):
            live(environ)


def live(environ: Mapping[str, str]) -> None:
    """Serve and sync until interrupted, or until one of the two ends by itself."""
    port = () if is_free(environ) else ("--port", "0")
    with (
        process(environ, "serve", "api", *port) as api,
        process(environ, "serve", "schedule", quiet=True) as schedule,
    ):
        console.print("the shop lives and the page follows; Ctrl-C ends it")
        children = {"api": api, "schedule": schedule}
        while True:
            for name, child in children.items():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = child.wait(0.5)
                    raise LakeError(f"serve {name} ended with exit code {code}; start the demo again")


def is_free(environ: Mapping[str, str]) -> bool:
    """True where nobody listens on the port that is set for the server."""
    settings = read_config(environ).section(ServeSettings)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError:
            return False
    return True


def interrupt(number: int, frame: object) -> None:
    """End as by Ctrl-C, so that the processes beside are ended too."""
    raise KeyboardInterrupt


@contextmanager
def only_one(lake: Lake) -> Iterator[None]:
    """Keep a second demo from the lake: its shop would live another life. Raises UsageError."""
    name = hashlib.sha256(lake.place.encode()).hexdigest()[:16]
    with open(private_folder("demo") / name, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"another demo lives on {lake.place}; end it, or set {PREFIX}LAKE_ROOT"
            ) from None
        yield


@contextmanager
def sandbox(environ: Mapping[str, str], *, clock: datetime | None) -> Iterator[str]:
    """Run the sandbox shop beside; give its address. It goes on where an earlier demo left it."""
    console.print("opening the sandbox shop: two years of orders ...")
    later = ("--clock", clock.isoformat()) if clock else ()
    with process(environ, "ingest", "sandbox", "--port", "0", *later, stdout=subprocess.PIPE) as shop:
        assert shop.stdout
        timer = threading.Timer(READY_SECONDS, shop.terminate)
        timer.start()
        line = shop.stdout.readline().strip()
        timer.cancel()
        if " ready at " not in line:
            raise LakeError(f"the sandbox shop did not open (exit code {shop.wait()}); see its words above")
        console.print(line)
        yield line.split(" ready at ")[1].split()[0]


@contextmanager
def process(
    environ: Mapping[str, str], *command: str, stdout: int | None = None, quiet: bool = False
) -> Iterator["subprocess.Popen[str]"]:
    """Run a command of the project beside; end it on the way out."""
    child = subprocess.Popen(
        [sys.executable, "-m", *command],
        env=dict(environ),
        stdout=subprocess.DEVNULL if quiet else stdout,
        stderr=subprocess.DEVNULL if quiet else None,
        text=True,
        start_new_session=True,
        preexec_fn=end_with_parent if sys.platform == "linux" else None,
    )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def end_with_parent() -> None:
    """Ask the kernel to end this process when the demo is gone, also by kill -9 (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def call(environ: Mapping[str, str], *command: str) -> None:
    """Run a command of the project to its end. Raises LakeError where it fails."""
    done = subprocess.run([sys.executable, "-m", *command], env=dict(environ), check=False)
    if done.returncode:
        raise LakeError(f"{' '.join(command)} ended with exit code {done.returncode}; its own line says why")
