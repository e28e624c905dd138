"""A lake with its first release, made once and copied for each test."""

from pathlib import Path

import pytest

from tests.transform.shop import Shop, opened


@pytest.fixture(scope="session")
def first_release(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop with one release; nobody changes it."""
    shop = opened(tmp_path_factory.mktemp("shop") / "lake")
    shop.published()
    return shop


@pytest.fixture
def shop(first_release: Shop, tmp_path: Path) -> Shop:
    """A shop with one release, for one test."""
    return first_release.copy(tmp_path / "lake")
