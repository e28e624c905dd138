"""The shop's clock: its days are days in Kyiv, whatever the machine's time zone is.

Days that numbers depend on are cut by DuckDB, with its own time zone database. Python needs the zone for
partitions and for times that are shown: it uses the package ``tzdata``, never the machine's database.
"""

from datetime import date, datetime
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

from lake.errors import LakeError

ZONE = "Europe/Kyiv"


@cache
def shop_zone() -> ZoneInfo:
    """Return the shop's time zone. Raises LakeError if the package tzdata is missing or lacks it."""
    region, _, city = ZONE.partition("/")
    try:
        with resources.files(f"tzdata.zoneinfo.{region}").joinpath(city).open("rb") as file:
            return ZoneInfo.from_file(file, key=ZONE)
    except (ImportError, OSError, ValueError):
        raise LakeError(
            f"the time zone {ZONE} is missing: the Python package tzdata is not installed, or is damaged;"
            " run `pip install --force-reinstall tzdata`"
        ) from None


def shop_day(instant: datetime) -> date:
    """Return the shop's day of an instant, which must have a time zone. Raises LakeError."""
    return instant.astimezone(shop_zone()).date()
