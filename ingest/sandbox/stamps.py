"""Times: whole seconds since 1970 (UTC) in the shop, and the text formats of the API."""

import datetime as dt
from email.utils import format_datetime
from functools import lru_cache
from typing import Literal

from lake.clock import shop_zone

DAY = 86_400
HOUR = 3_600
_EPOCH = dt.date(1970, 1, 1).toordinal()


def seconds(moment: dt.datetime) -> int:
    """Return ``moment`` (aware) as whole seconds since 1970."""
    return int(moment.timestamp())


def moment(at: int) -> dt.datetime:
    """Return the aware UTC datetime of ``at`` seconds since 1970."""
    return dt.datetime.fromtimestamp(at, dt.UTC)


@lru_cache(maxsize=4096)
def day_start(day: dt.date) -> int:
    """Return the time when a Kyiv ``day`` begins; days last 23, 24 or 25 hours."""
    return seconds(dt.datetime(day.year, day.month, day.day, tzinfo=shop_zone()))


@lru_cache(maxsize=4096)
def _date(number: int) -> str:
    return dt.date.fromordinal(number + _EPOCH).isoformat()


def plain(at: int) -> str:
    """Return ``2026-03-05 12:20:31``, UTC without a zone."""
    number, rest = divmod(at, DAY)
    return f"{_date(number)} {rest // 3600:02}:{rest % 3600 // 60:02}:{rest % 60:02}"


def zulu(at: int) -> str:
    """Return ``2026-03-05T12:20:31.000000Z``."""
    number, rest = divmod(at, DAY)
    return f"{_date(number)}T{rest // 3600:02}:{rest % 3600 // 60:02}:{rest % 60:02}.000000Z"


def http_date(at: int) -> str:
    """Return ``Thu, 05 Mar 2026 12:20:31 GMT``."""
    return format_datetime(moment(at), usegmt=True)


def offset_4(at: int) -> str:
    """Return the time with an offset of four hours, ``2026-03-05T16:20:31.000000+04:00``."""
    return zulu(at + 4 * HOUR)[:-1] + "+04:00"


def parse(text: str, *, end: bool, date_only_end: Literal["midnight", "end_of_day"]) -> int:
    """Return the time of a filter value: ``YYYY-MM-DD HH:MM:SS`` or a date alone, UTC.

    If ``end`` is true, the value ends a range, and a date alone may include its whole day.
    Raises ValueError for any other format.
    """
    text = text.strip()
    if len(text) == 10:
        at = seconds(dt.datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=dt.UTC))
        return at + DAY - 1 if end and date_only_end == "end_of_day" else at
    return seconds(dt.datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=dt.UTC))
