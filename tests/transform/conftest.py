"""A lake with its first release, built once and copied for each test."""

from pathlib import Path

import pytest

from tests.support.built_lake import FEW, Shop, ingested_shop


@pytest.fixture(scope="session")
def first_release(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop with one release, shared by all tests; no test changes it."""
    shop = ingested_shop(tmp_path_factory.mktemp("shop") / "lake")
    shop.publish()
    return shop


@pytest.fixture
def shop(first_release: Shop, tmp_path: Path) -> Shop:
    """A shop with one release, for one test."""
    return first_release.copy(tmp_path / "lake")


@pytest.fixture(scope="session")
def first_of_few(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop with a few of the models and one release, shared by all tests."""
    shop = ingested_shop(tmp_path_factory.mktemp("few") / "lake", models=FEW)
    shop.publish()
    return shop


@pytest.fixture
def few(first_of_few: Shop, tmp_path: Path) -> Shop:
    """A shop with a few of the models and one release, for one test."""
    return first_of_few.copy(tmp_path / "lake")
