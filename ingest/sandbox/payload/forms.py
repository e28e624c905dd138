"""The formats of values: times and amounts, as the settings choose."""

from collections.abc import Callable
from typing import Any

from ingest.sandbox import stamps
from ingest.sandbox.settings import Sandbox

Json = dict[str, Any]
_STAMPS: dict[str, Callable[[int], str]] = {
    "utc_z": stamps.zulu,
    "offset_4": stamps.offset_4,
    "plain": stamps.plain,
}


class Forms:
    """The formats of one shop: ``at`` for times, ``amount`` for kopecks."""

    def __init__(self, settings: Sandbox) -> None:
        self.settings = settings
        self.at = _STAMPS[settings.stamps]
        self.amount: Callable[[int], int | float | str] = decimal if settings.amounts_as_strings else number

    def at_or_null(self, at: int) -> str | None:
        """Return a time as text, or None if there is none."""
        return self.at(at) if at else None

    def amount_or_null(self, kopecks: int | None) -> int | float | str | None:
        """Return an amount, or None if it is unknown."""
        return None if kopecks is None else self.amount(kopecks)


def decimal(kopecks: int) -> str:
    """Return an amount as text with two decimals."""
    sign, whole = ("-", -kopecks) if kopecks < 0 else ("", kopecks)
    return f"{sign}{whole // 100}.{whole % 100:02}"


def number(kopecks: int) -> int | float:
    """Return an amount as a number; a whole one has no fraction."""
    return kopecks / 100 if kopecks % 100 else kopecks // 100


def quantity(thousandths: int) -> int | float:
    """Return a quantity as a number; a whole one has no fraction."""
    return thousandths / 1000 if thousandths % 1000 else thousandths // 1000
