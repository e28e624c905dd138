"""Limits: a build that exceeds DuckDB's memory limit spills, or fails and changes nothing."""

from pathlib import Path

import pytest

from lake.errors import ConfigError, LakeError
from lake.paths import Lake
from lake.settings import LakeSettings
from tests.bench.transform import MAIN, change, make, models_for
from tests.support.built_lake import Shop
from transform.build import BuildRequest, run_build
from transform.settings import RulesSettings

pytestmark = pytest.mark.slow

ORDERS = 20_000


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop that exceeds the memory limit, with a release and a later change."""
    shop = Shop(Lake(root=str(tmp_path_factory.mktemp("large")), durable=False), tuple(models_for(MAIN)))
    make(shop.lake, ORDERS)
    shop.publish()
    change(shop.lake, ORDERS, 1)
    return shop


def build_within(shop: Shop, memory: str, spill: Path) -> int:
    """Build in full within a memory limit; return the number of the release."""
    engine = LakeSettings(memory_limit=memory, threads=1, spill=str(spill))
    request = BuildRequest(engine=engine, rules=RulesSettings(), models=shop.models, full=True)
    release = run_build(shop.lake, request)
    assert release
    return release.release


def test_a_build_that_exceeds_its_limits_changes_nothing(large: Shop, tmp_path: Path) -> None:
    """The message names the setting, no head moves, and the last release reads as before."""
    shop = large.copy(tmp_path / "lake")
    heads, shown = shop.heads(), shop.read()
    with pytest.raises(LakeError, match=r"memory_limit 8MB .*nothing was published, the last release serves"):
        build_within(shop, "8MB", tmp_path / "spill")
    assert shop.heads() == heads
    assert shop.read() == shown
    assert not shop.strays()


def test_a_build_that_exceeds_its_memory_spills(large: Shop, tmp_path: Path) -> None:
    """With a spill folder the tables are the same as with enough memory; without one nothing is built."""
    shop = large.copy(tmp_path / "lake")
    # The target of this link does not exist and can't be created.
    (tmp_path / "no folder").symlink_to(tmp_path / "nowhere" / "to be found")
    with pytest.raises(ConfigError, match="no folder can't be written"):
        build_within(shop, "24MB", tmp_path / "no folder")
    assert build_within(shop, "24MB", tmp_path / "spill") == 2
    assert shop.read() == shop.rebuilt_copy(tmp_path / "rebuilt").read()
