"""The shop's clock: its days are those of Kyiv, whatever zone a machine is in."""

from datetime import date, datetime
from zoneinfo import ZoneInfo

SHOP = ZoneInfo("Europe/Kyiv")


def shop_day(instant: datetime) -> date:
    """Return the day of the shop that an instant with a zone is in. Pure."""
    return instant.astimezone(SHOP).date()
