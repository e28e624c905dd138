"""The shop's clock: one time zone, of a package and not of the machine."""

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path

import pytest

from lake.clock import ZONE, shop_day, shop_zone
from lake.errors import LakeError
from lake.query.session import connect
from lake.settings import LakeSettings


@pytest.fixture(autouse=True)
def no_cached_zone() -> Iterator[None]:
    """Read the zone from its package in each test."""
    shop_zone.cache_clear()
    yield
    shop_zone.cache_clear()


def test_python_and_duckdb_cut_the_same_days() -> None:
    """Every six hours from 1992 to 2030, both give an instant the same shop day."""
    instants = [
        datetime(1992, 1, 1, 22, tzinfo=UTC) + timedelta(hours=6 * number) for number in range(55_000)
    ]
    query = f"""
    select ((timestamptz '1992-01-01 22:00+00' + i * interval 6 hour) at time zone '{ZONE}')::date
    from range(55_000) as t(i)
    order by i
    """
    days = [day for (day,) in connect(LakeSettings()).execute(query).fetchall()]
    assert [shop_day(instant) for instant in instants] == days


def test_the_machines_time_zones_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a time zone database, or with an old one, gives the same days."""
    monkeypatch.setattr(zoneinfo, "TZPATH", ())
    assert shop_day(datetime(2026, 3, 28, 22, tzinfo=UTC)).isoformat() == "2026-03-29"


def test_a_missing_zone_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The package may be missing, or lack the zone, or be damaged."""
    monkeypatch.setattr(resources, "files", lambda name: tmp_path)
    with pytest.raises(LakeError, match="pip install --force-reinstall tzdata"):
        shop_zone()
    (tmp_path / "Kyiv").write_bytes(b"TZif?")
    with pytest.raises(LakeError, match="tzdata") as caught:
        shop_zone()
    assert "\n" not in str(caught.value)
