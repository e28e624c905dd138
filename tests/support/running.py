"""Running: the project's commands as processes, as an operator runs them."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ingest.sandbox.command import TEST_KEY
from lake.config import DEFAULT_FILE
from lake.paths import Lake
from tests.support.forked_commands import is_forkable, run_forked


def environ_of(lake: Lake, url: str = "http://127.0.0.1:9/v1", **more: str) -> dict[str, str]:
    """Return the environment of a command on this lake and shop, without the caller's settings."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("KEYLAKE_", "KEYCRM_"))}
    return {
        **own,
        "KEYLAKE_CONFIG": str(DEFAULT_FILE),
        "KEYLAKE_LAKE_ROOT": lake.root,
        "KEYLAKE_LAKE_DURABLE": str(lake.durable).lower(),
        "KEYLAKE_LAKE_MEMORY_LIMIT": "1GB",
        "KEYLAKE_SOURCE_BASE_URL": url,
        "KEYLAKE_SOURCE_REQUESTS_PER_MINUTE": "1000000",
        "KEYLAKE_SOURCE_BACKOFF_SECONDS": "0.01",
        "KEYCRM_API_KEY": TEST_KEY,
        **more,
    }


def run(
    environ: Mapping[str, str], *command: str, seconds: float = 600
) -> "subprocess.CompletedProcess[str]":
    """Run ``python -m <command>`` to its end; raise TimeoutExpired if it takes longer than ``seconds``."""
    if is_forkable(environ, command):
        return run_forked(environ, *command, seconds=seconds)
    return subprocess.run(
        [sys.executable, "-m", *command],
        env=dict(environ),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def succeed(environ: Mapping[str, str], *command: str) -> str:
    """Run a command that must succeed; return its output."""
    done = run(environ, *command)
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def launched(command: Sequence[str], **how: Any) -> "Iterator[subprocess.Popen[str]]":
    """Start a process that ends by itself; if the test fails first, kill it and do not wait for it."""
    with subprocess.Popen(command, text=True, **how) as child:
        try:
            yield child
        except BaseException:
            child.kill()
            raise


@contextmanager
def server(environ: Mapping[str, str]) -> Iterator[str]:
    """Run the API on a free port; yield its address."""
    child = subprocess.Popen(
        [sys.executable, "-m", "serve", "api", "--port", "0"],
        env=dict(environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert child.stdout
        line = child.stdout.readline()
        assert "http://" in line, f"the server did not start: {line!r}"
        yield "http://" + line.split("http://")[1].strip().rstrip("/")
    finally:
        child.terminate()
        child.wait(120)
