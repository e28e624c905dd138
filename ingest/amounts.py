"""Amounts: which numbers are money, and to how many places; for one number and for a column. Pure."""

from decimal import ROUND_HALF_UP, Decimal

import pyarrow as pa
import pyarrow.compute as pc

# Floating-point error that is rounded away: 646.5999999999999 means 646.60, but 2.555 is finer than a kopeck.
NOISE = Decimal("0.000001")
# Decimal places of a kopeck.
KOPECKS = 2
# Digits that an amount may have before and after the decimal point.
DIGITS, DECIMALS = 15, 40
ZERO = Decimal("0.00")


def amount(value: Decimal | None, name: str) -> Decimal | None:
    """Return the number; raises ValueError if neither Decimal nor Arrow can calculate with it."""
    if value is None:
        return None
    if value.is_finite() and not value:
        return ZERO
    # Compared by the exponent: arithmetic with 1E+1000000 raises an error.
    if not value.is_finite() or value.adjusted() >= DIGITS or exponent(value) < -DECIMALS:
        raise ValueError(f"{name} is {value}, which is no amount")
    return value


def exponent(value: Decimal) -> int:
    """Return the power of ten of a finite number's last digit."""
    return int(value.as_tuple().exponent)


def round_amount(value: Decimal | None, places: int, name: str) -> Decimal | None:
    """Return the amount rounded to so many places; raises ValueError if kopecks would lose a digit."""
    if value is None:
        return None
    rounded = value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    if places == KOPECKS and abs(rounded - value) > NOISE:
        raise ValueError(f"{name} is {value}: finer than a kopeck")
    return rounded


def amount_column(values: pa.Array, kind: pa.Decimal128Type) -> pa.Array:
    """Return a column of numbers as amounts with the scale of the type; raises ValueError like the above."""
    if (pc.max(pc.abs(values)).as_py() or 0) >= 10**DIGITS:
        raise ValueError("no amount")
    try:
        return values.cast(kind)
    except pa.ArrowInvalid:
        rounded = pc.round(values, ndigits=kind.scale, round_mode="half_towards_infinity")
        if kind.scale == KOPECKS and pc.max(pc.abs(pc.subtract(rounded, values))).as_py() > NOISE:
            raise ValueError("finer than a kopeck") from None
        return rounded.cast(kind)
