"""How figures are made from sums: averages, changes, periods. Pure; money is Decimal to the kopeck."""

from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal

import msgspec

CENT = Decimal("0.01")
DEFAULT_DAYS = 30


class Period(msgspec.Struct, frozen=True, rename={"first": "from", "last": "to"}):
    """Shop days from ``from`` to ``to``, both included."""

    first: date
    last: date

    @property
    def days(self) -> int:
        """How many days it has."""
        return (self.last - self.first).days + 1

    @property
    def previous(self) -> "Period | None":
        """The period of the same length that ends the day before; None where the calendar begins."""
        if (self.first - date.min).days < self.days:
            return None
        return Period(self.first - timedelta(days=self.days), self.first - timedelta(days=1))


def period_of(first: date | None, last: date | None, *, today: date) -> Period:
    """Return the period asked for; what was left out makes it 30 days that end today."""
    if last is None:
        last = today if first is None else max(first, today)
    if first is None:
        first = max(date.min, date.fromordinal(max(1, last.toordinal() - DEFAULT_DAYS + 1)))
    return Period(first, last)


def rounded(value: Decimal) -> Decimal:
    """Return the value to two places, half away from zero."""
    return value.quantize(CENT, ROUND_HALF_UP)


def average(money: Decimal, count: int) -> Decimal | None:
    """Return money per piece, to two places; None where there is nothing to divide by."""
    return rounded(money / count) if count else None


def percent(part: Decimal | int, whole: Decimal | int) -> Decimal | None:
    """Return the part in percent of the whole, to two places; None where the whole is 0."""
    return rounded(Decimal(part) * 100 / abs(Decimal(whole))) if whole else None
