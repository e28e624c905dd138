"""Fixtures that the tests of the lake share."""

import pytest

from lake.paths import Lake
from tests.support.simulated_lake import Simulated, at


@pytest.fixture
def month(lake: Lake) -> Simulated:
    """Return a simulated lake on its first day."""
    simulated = Simulated(lake, now=at(0))
    simulated.start()
    return simulated
