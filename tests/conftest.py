"""What all tests share: an empty lake, settings that can't reach a real one, and the order of the tests."""

import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import settings

from lake.paths import Lake
from lake.settings import LakeSettings
from tests.support.heartbeat import Heartbeat
from tests.support.processes import refuse_processes, starts_process

BUCKET = "keylake"
# Moto's server for one service: `python -m moto.server` lists the folder of all services at each request.
S3 = """
from moto.server import create_backend_app
from werkzeug.serving import run_simple

run_simple("127.0.0.1", 0, create_backend_app("s3"), threaded=True)
"""
# No test measures time, and this machine may be busy.
settings.register_profile("keylake", deadline=None, max_examples=60)
settings.load_profile("keylake")


def pytest_configure(config: pytest.Config) -> None:
    """Show what runs, in the process that prints the results."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Heartbeat(reporter))


def pytest_xdist_auto_num_workers() -> int:
    """Return one worker more than there are cores: tests also wait for processes, servers and disks."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start a process, and begin with the slow ones."""
    for item in items:
        if starts_process(item):
            item.add_marker("process")
    items[:] = slow_first(items, workers=int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


def slow_first(items: Sequence[pytest.Item], *, workers: int) -> list[pytest.Item]:
    """Return the tests in an order that lets every worker begin with its part of the slow ones.

    A worker of pytest-xdist gets a run of neighbouring tests first, and later steals from the end of
    another one's: quick tests are left for the end, and all workers finish at the same time. A module
    that is marked as a whole stays together, because its tests share what takes so long to make.
    """
    quick = [item for item in items if not item.get_closest_marker("slow")]
    units: dict[str, list[pytest.Item]] = {}
    for item in items:
        for node, _ in item.iter_markers_with_node("slow"):
            units.setdefault(node.nodeid, []).append(item)
            break
    ordered: list[pytest.Item] = []
    for worker in range(workers):
        slow = [item for unit in list(units.values())[worker::workers] for item in unit]
        room = max((len(items) - len(ordered)) // (workers - worker) - len(slow), 0)
        ordered += slow + quick[:room]
        quick = quick[room:]
    return ordered


@pytest.fixture(autouse=True)
def no_hidden_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that starts a process and is not marked with ``process``: `just quick` would run it."""
    if not request.node.get_closest_marker("process"):
        refuse_processes(monkeypatch)


@pytest.fixture(autouse=True)
def no_real_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the caller's lake and key from each test, and run it in a folder of its own."""
    for name in list(os.environ):
        if name.startswith(("KEYLAKE_", "KEYCRM_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake, which need not survive a power cut: its commits are not synced."""
    return Lake(root=str(tmp_path / "lake"), durable=False)


@pytest.fixture
def engine(tmp_path: Path) -> LakeSettings:
    """DuckDB's limits for a test."""
    return LakeSettings(memory_limit="1GB", threads=2, spill=str(tmp_path / "spill"))


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of an S3 endpoint with one empty bucket, in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", S3], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as child:
        try:
            assert child.stderr
            matches = (re.search(r"Running on (http://\S+)", line) for line in child.stderr)
            url = next((match[1] for match in matches if match), None)
            assert url, "moto's server did not start"
            # Keep reading its log: it would block if the pipe were full.
            threading.Thread(target=child.stderr.read, daemon=True).start()
            urllib.request.urlopen(urllib.request.Request(f"{url}/{BUCKET}", method="PUT")).close()
            yield url
        finally:
            child.terminate()


@pytest.fixture
def s3_lake(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """An empty lake in the bucket; its endpoint and credentials are in the environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return Lake(root=f"s3://{BUCKET}/{tmp_path.name}")


@pytest.fixture(params=["disk", pytest.param("s3", marks=pytest.mark.process)])
def any_lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """An empty lake: a folder, or a prefix of a bucket."""
    if request.param == "disk":
        return Lake(root=str(tmp_path / "lake"), durable=False)
    in_bucket: Lake = request.getfixturevalue("s3_lake")
    return in_bucket
