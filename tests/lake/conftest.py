"""Fixtures that the tests of the lake share."""

import os

import pytest

from lake.paths import Lake
from tests.support.simulated_lake import Simulated, at


@pytest.fixture
def month(lake: Lake) -> Simulated:
    """Return a simulated lake on its first day."""
    simulated = Simulated(lake, now=at(0))
    simulated.start()
    return simulated


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the paths of the files and folders that are synced in the test, as far as it is now."""
    paths: set[str] = set()
    fsync = os.fsync

    def spy(handle: int) -> None:
        paths.add(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", spy)
    return paths
