"""The shop's clock, which runs with real time: a shop day lasts a given number of real seconds."""

from collections.abc import Callable

from ingest.sandbox.stamps import DAY, moment
from ingest.sandbox.world import World


class Clock:
    """Advances ``world`` with real time. ``real`` returns seconds that never decrease."""

    def __init__(self, world: World, *, day_seconds: float, real: Callable[[], float]) -> None:
        self._world = world
        self._speed = DAY / day_seconds if day_seconds else 0.0
        self._real = real
        self.set()

    def set(self) -> None:
        """Set the world's present time as the time of this real second."""
        self._from, self._since = self._world.at, self._real()

    def tick(self) -> None:
        """Advance the world up to the present time."""
        at = self._from + int((self._real() - self._since) * self._speed)
        if at > self._world.at:
            self._world.advance(moment(at))
