"""What all tests share: an empty lake, and settings that can't reach a real one."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from lake.paths import Lake
from lake.settings import LakeSettings

# No test measures time, and this machine may be busy.
settings.register_profile("keylake", deadline=None, max_examples=60)
settings.load_profile("keylake")


@pytest.fixture(autouse=True)
def no_real_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the caller's lake or key, nor writes outside its own folder."""
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
