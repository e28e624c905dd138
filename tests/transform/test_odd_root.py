"""Odd root: builds read and write a lake whose path has characters that SQL, URIs and shells use."""

from pathlib import Path

import pytest

from tests.support.built_lake import FEW, ingested_shop


@pytest.mark.parametrize("name", ['it\'s {my} "shop" #1; 100% $x & café'])
def test_a_second_build_equals_a_full_one(tmp_path: Path, name: str) -> None:
    """The changes of bronze, the files of each month and the catalogue are found at any root."""
    shop = ingested_shop(tmp_path / name / "lake", models=FEW)
    shop.publish()
    shop.observe(
        "bronze.orders",
        "id | ordered_at | source_id | buyer_id | status_id | grand_total | fetched_at\n"
        "6 | 2026-07-03 10:00 | 1 | 31 | 12 | 70.00 | 2026-08-01 10:00:00+00:00",
    )
    shop.publish()
    assert shop.read() == shop.rebuilt_copy(tmp_path / "full").read()
    assert not shop.strays()
