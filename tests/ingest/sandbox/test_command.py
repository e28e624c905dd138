"""The shop as a process and in a thread."""

import datetime as dt
import signal
import socket
import subprocess
import sys
import urllib.request
from typing import Any

import pytest
from msgspec.structs import replace

import ingest
from ingest.sandbox import edits
from ingest.sandbox.command import TEST_KEY, lived, run, serving
from ingest.sandbox.settings import Sandbox

QUIET = Sandbox(port=0, days=2, day_seconds=0, requests_per_minute=0)
PROGRAM = """
from ingest.sandbox.command import run
from ingest.sandbox.settings import Sandbox
run(Sandbox(port=0, days=2), api_key="k")
"""


def ask(url: str, key: str) -> Any:
    """Return the status of a GET."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=120) as response:
        return response.status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_line_when_ready_and_0_at_the_end(number: signal.Signals) -> None:
    """The process prints its address, answers, and ends with exit code 0 on a signal."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=_root(),
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("sandbox shop ready at http://127.0.0.1:")
        assert line.endswith(" orders, shop time 2024-09-02 21:00 UTC)\n")
        assert ask(line.split()[4] + "/order", "k") == 200
        process.send_signal(number)
        rest, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert (process.returncode, rest, errors) == (0, "", "")


def _root() -> str:
    """Return the folder of the packages, which is not the test's folder."""
    return str(ingest.__path__[0]).removesuffix("/ingest")


def test_message_names_a_taken_port() -> None:
    """If the port of a shop is taken, the message names it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"can't listen at 127.0.0.1:{port}"):
            run(replace(QUIET, port=port, days=0), api_key="k")


def test_history_may_go_on_to_a_later_instant() -> None:
    """A later clock extends the history, and an earlier one does not shorten it."""
    later = dt.datetime(2024, 9, 20, 12, 0, 30, tzinfo=dt.UTC)
    assert lived(QUIET, clock=later).now == later
    assert (
        lived(QUIET, clock=dt.datetime(2024, 9, 1, tzinfo=dt.UTC)).now.isoformat()
        == "2024-09-02T21:00:00+00:00"
    )


def test_serving_from_a_thread() -> None:
    """A synchronous test can send requests to a shop and change it between them."""
    with serving(QUIET) as shop:
        assert ask(shop.url + "/order", TEST_KEY) == 200
        id = shop.call(lambda running: edits.apply(running.world, edits.AddOrder()))
        assert ask(f"{shop.url}/order/{id}", TEST_KEY) == 200
