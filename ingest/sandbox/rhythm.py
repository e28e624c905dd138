"""The rhythm of orders: by season, day of the week and hour, and the nights when clocks change."""

import datetime as dt
from random import Random

from ingest.sandbox.stamps import DAY, HOUR, day_start

_MONTHS = (0.95, 1.08, 1.18, 1.0, 0.97, 0.9, 0.82, 0.84, 0.98, 1.02, 1.22, 1.2)
_WEEKDAYS = (1.12, 1.08, 1.05, 1.04, 1.0, 0.86, 0.85)
_MEAN = sum(_MONTHS) / 12
_HOURS = (3, 2, 1, 1, 1, 1, 2, 4, 7, 10, 12, 13, 13, 12, 12, 12, 12, 12, 13, 14, 15, 14, 11, 7)
_HOUR_OF = tuple(hour for hour, weight in enumerate(_HOURS) for _ in range(weight))
_PEAKS = {(11, 29): 2.6, (11, 28): 1.8, (2, 13): 1.7, (3, 6): 1.9, (3, 7): 2.1, (12, 18): 1.5, (8, 24): 1.3}
_FAIR_DAYS = frozenset((9, day) for day in range(12, 16))
_OPENCART_DAYS = 30


def expected(day: dt.date, *, per_day: float) -> float:
    """Return the number of orders to expect on ``day`` if the average day of a year has ``per_day``."""
    season = _MONTHS[day.month - 1] / _MEAN
    return per_day * season * _WEEKDAYS[day.weekday()] * _PEAKS.get((day.month, day.day), 0.985)


def is_fair(day: dt.date) -> bool:
    """True if the shop has its stand at the September fair on that day."""
    return (day.month, day.day) in _FAIR_DAYS


def has_opencart(day: dt.date, *, first: dt.date) -> bool:
    """True if the old storefront still takes orders; it was retired soon after the shop's first day."""
    return (day - first).days < _OPENCART_DAYS


def count(rng: Random, mean: float) -> int:
    """Return a whole number within a sixth of ``mean``, which is its average."""
    noisy = mean * (1 + (rng.random() - 0.5) / 3)
    return int(noisy) + (rng.random() < noisy % 1)


def instants(rng: Random, day: dt.date, number: int) -> list[int]:
    """Return ``number`` times of a Kyiv day by the rhythm of its hours, unsorted.

    One in fifty is within two minutes of midnight. A day of 23 or 25 hours always has eight more,
    around the hour that is missing or occurs twice.
    """
    start = day_start(day)
    length = day_start(day + dt.timedelta(days=1)) - start
    found = []
    for _ in range(number):
        draw = rng.random()
        if draw < 0.02:
            at = draw * 12_000 if draw < 0.01 else length - draw * 6_000
        else:
            at = (_HOUR_OF[int(rng.random() * len(_HOUR_OF))] + rng.random()) * HOUR
        found.append(start + min(int(at), length - 1))
    if length != DAY and number:
        found += [start + 2 * HOUR + part * 1800 + rng.randrange(1800) for part in range(8)]
    return found
