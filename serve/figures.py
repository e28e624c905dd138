"""Figures: averages, percentages and periods, computed from sums. Pure; money is Decimal to the kopeck."""

from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal

import msgspec

CENT = Decimal("0.01")
# Days of a period if a request gives no dates.
DEFAULT_DAYS = 30


class Period(msgspec.Struct, frozen=True, rename={"first": "from", "last": "to"}):
    """Shop days from ``from`` to ``to``, both included."""

    first: date
    last: date

    @property
    def days(self) -> int:
        """Number of days."""
        return (self.last - self.first).days + 1

    @property
    def previous(self) -> "Period | None":
        """Period of the same length that ends the day before; None if it would begin before year 1."""
        if (self.first - date.min).days < self.days:
            return None
        return Period(self.first - timedelta(days=self.days), self.first - timedelta(days=1))


def period_of(first: date | None, last: date | None, *, today: date) -> Period:
    """Return the period between two dates.

    If ``last`` is None, the period ends today, or on ``first`` if that is later. If ``first`` is
    None, it has 30 days.
    """
    if last is None:
        last = today if first is None else max(first, today)
    if first is None:
        first = max(date.min, date.fromordinal(max(1, last.toordinal() - DEFAULT_DAYS + 1)))
    return Period(first, last)


def round_half_up(value: Decimal) -> Decimal:
    """Return the value with two decimal places; a half is rounded away from zero."""
    return value.quantize(CENT, ROUND_HALF_UP)


def average(money: Decimal, count: int) -> Decimal | None:
    """Return ``money / count`` with two decimal places; None if the count is 0."""
    return round_half_up(money / count) if count else None


def percent(part: Decimal | int, whole: Decimal | int) -> Decimal | None:
    """Return the part in percent of the absolute whole, with two decimal places; None if the whole is 0."""
    return round_half_up(Decimal(part) * 100 / abs(Decimal(whole))) if whole else None
