"""Demo: a sandbox shop with new orders, its lake, and the dashboard, all on this machine.

Each part is the real command in a separate process, as an operator would start it.
The demo sets only the addresses, the intervals and the request budget.
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

# Seconds that the sandbox shop may take to start.
READY_SECONDS = 120
# Figures that ``--once`` prints: one row per sales type, and one for all.
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
# Settings of the demo unless the environment has them: a shop day takes two minutes, syncs don't wait.
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
    """Run the demo until interrupted; if ``once`` is set, print the published figures and return.

    Raises UsageError if the lake contains the data of a real CRM.
    """
    origin = read_origin(lake)
    if origin and not is_sandbox(origin):
        raise UsageError(
            f"{lake.place} contains data of {origin}, and the demo would add the sandbox shop's data;"
            f" set {PREFIX}LAKE_ROOT to an empty folder"
        )
    complete = last_runs(lake)[1]
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    environ = {**CHOICES, **os.environ}
    clock = complete.source_time if complete else None
    with lock_lake(lake), sandbox(environ, clock=clock) as url:
        environ[f"{PREFIX}SOURCE_BASE_URL"] = url
        run_command(environ, "ingest", "incremental" if complete else "full")
        run_command(environ, "transform")
        if once:
            show(fetch(open_session(lake, settings, find_release(lake, None)), FIGURES), "table")
            return
        with contextlib.suppress(KeyboardInterrupt):
            serve_and_sync(environ)


def serve_and_sync(environ: Mapping[str, str]) -> None:
    """Run the server and the schedule until interrupted. Raises LakeError if one of them ends."""
    port = () if is_port_free(environ) else ("--port", "0")
    with (
        background(environ, "serve", "api", *port) as api,
        background(environ, "serve", "schedule", quiet=True) as schedule,
    ):
        console.print("the shop creates orders, and the dashboard shows them; press Ctrl-C to stop")
        children = {"api": api, "schedule": schedule}
        while True:
            for name, child in children.items():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = child.wait(0.5)
                    raise LakeError(f"serve {name} ended with exit code {code}; start the demo again")


def is_port_free(environ: Mapping[str, str]) -> bool:
    """True if no process listens on the server's port."""
    settings = read_config(environ).section(ServeSettings)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError:
            return False
    return True


def interrupt(number: int, frame: object) -> None:
    """Handle a signal like Ctrl-C, so that the demo stops its processes too."""
    raise KeyboardInterrupt


@contextmanager
def lock_lake(lake: Lake) -> Iterator[None]:
    """Lock the lake against a second demo, whose shop would have other orders. Raises UsageError."""
    name = hashlib.sha256(lake.place.encode()).hexdigest()[:16]
    with open(private_folder("demo") / name, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"another demo uses {lake.place}; stop it, or set {PREFIX}LAKE_ROOT to another folder"
            ) from None
        yield


@contextmanager
def sandbox(environ: Mapping[str, str], *, clock: datetime | None) -> Iterator[str]:
    """Run the sandbox shop and yield its URL. If ``clock`` is set, the shop's time continues from it.

    Raises LakeError if the shop does not start.
    """
    console.print("starting the sandbox shop with two years of orders ...")
    clock_option = ("--clock", clock.isoformat()) if clock else ()
    with background(
        environ, "ingest", "sandbox", "--port", "0", *clock_option, stdout=subprocess.PIPE
    ) as shop:
        assert shop.stdout
        timer = threading.Timer(READY_SECONDS, shop.terminate)
        timer.start()
        line = shop.stdout.readline().strip()
        timer.cancel()
        if " ready at " not in line:
            raise LakeError(f"the sandbox shop did not start (exit code {shop.wait()}); see its output above")
        console.print(line)
        yield line.split(" ready at ")[1].split()[0]


@contextmanager
def background(
    environ: Mapping[str, str], *command: str, stdout: int | None = None, quiet: bool = False
) -> Iterator["subprocess.Popen[str]"]:
    """Run a command of the project in the background; stop it at exit, after 15 seconds by SIGKILL."""
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
    """Let the kernel stop this process when the demo ends, even by kill -9 (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def run_command(environ: Mapping[str, str], *command: str) -> None:
    """Run a command of the project to its end. Raises LakeError if it fails."""
    process = subprocess.run([sys.executable, "-m", *command], env=dict(environ), check=False)
    if process.returncode:
        raise LakeError(
            f"{' '.join(command)} ended with exit code {process.returncode}; see its output above"
        )
