"""The shop's clock: its days are days in Kyiv, whatever the machine's time zone is."""

from datetime import date, datetime
from zoneinfo import ZoneInfo

SHOP = ZoneInfo("Europe/Kyiv")


def shop_day(instant: datetime) -> date:
    """Return the shop's day of an instant, which must have a time zone. Pure."""
    return instant.astimezone(SHOP).date()
