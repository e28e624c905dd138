"""Amounts: which numbers are money, and to how many places; one number, and a column of them. Pure."""

from decimal import ROUND_HALF_UP, Decimal

import pyarrow as pa
import pyarrow.compute as pc

# 646.5999999999999 is how floating point spells 646.60; 2.555 is really finer than a kopeck.
NOISE = Decimal("0.000001")
KOPECKS = 2
# Before the point, and behind it.
DIGITS, DECIMALS = 15, 40
NOTHING = Decimal("0.00")


def amount(value: Decimal | None, name: str) -> Decimal | None:
    """Return the number; raises ValueError where nobody can reckon with it, Arrow least of all."""
    if value is None:
        return None
    if value.is_finite() and not value:
        return NOTHING
    # By its exponent: to reckon with 1E+1000000 is already an error.
    if not value.is_finite() or value.adjusted() >= DIGITS or exponent(value) < -DECIMALS:
        raise ValueError(f"{name} is {value}, which is no amount")
    return value


def exponent(value: Decimal) -> int:
    """Return the power of ten that a finite number's last digit counts."""
    return int(value.as_tuple().exponent)


def to_places(value: Decimal | None, places: int, name: str) -> Decimal | None:
    """Return the amount to so many places; raises ValueError where it is finer than its kopecks."""
    if value is None:
        return None
    rounded = value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    if places == KOPECKS and abs(rounded - value) > NOISE:
        raise ValueError(f"{name} is {value}: finer than a kopeck")
    return rounded


def amounts(values: pa.Array, kind: pa.Decimal128Type) -> pa.Array:
    """Return a column of numbers as amounts of the type's places; raises ValueError as the above do."""
    if (pc.max(pc.abs(values)).as_py() or 0) >= 10**DIGITS:
        raise ValueError("no amount")
    try:
        return values.cast(kind)
    except pa.ArrowInvalid:
        rounded = pc.round(values, ndigits=kind.scale, round_mode="half_towards_infinity")
        if kind.scale == KOPECKS and pc.max(pc.abs(pc.subtract(rounded, values))).as_py() > NOISE:
            raise ValueError("finer than a kopeck") from None
        return rounded.cast(kind)
