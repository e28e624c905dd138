"""Fixtures of all tests: empty lakes, and settings that can't reach a real one."""

import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from lake.paths import Lake
from lake.settings import LakeSettings

BUCKET = "keylake"
# No test measures time, and the machine may be busy.
settings.register_profile("keylake", deadline=None, max_examples=60)
settings.load_profile("keylake")


@pytest.fixture(autouse=True)
def no_real_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the caller's lake and key from each test, and run it in a folder of its own."""
    for name in list(os.environ):
        if name.startswith(("KEYLAKE_", "KEYCRM_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake."""
    return Lake(root=str(tmp_path / "lake"))


@pytest.fixture
def engine(tmp_path: Path) -> LakeSettings:
    """DuckDB's limits for a test."""
    return LakeSettings(memory_limit="1GB", threads=2, spill=str(tmp_path / "spill"))


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of an S3 endpoint with one empty bucket, served by its own process."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as child:
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


@pytest.fixture(params=["disk", "s3"])
def any_lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """An empty lake: a folder, or a prefix of a bucket."""
    if request.param == "disk":
        return Lake(root=str(tmp_path / "lake"))
    in_bucket: Lake = request.getfixturevalue("s3_lake")
    return in_bucket
