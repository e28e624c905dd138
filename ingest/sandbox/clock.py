"""Moves the shop's clock along with real time: so many real seconds to a shop day."""

from collections.abc import Callable

from ingest.sandbox.stamps import DAY, moment
from ingest.sandbox.world import World


class Clock:
    """Keeps ``world`` as far on as real time says; ``real`` returns seconds that never go back."""

    def __init__(self, world: World, *, day_seconds: float, real: Callable[[], float]) -> None:
        self._world = world
        self._speed = DAY / day_seconds if day_seconds else 0.0
        self._real = real
        self.set()

    def set(self) -> None:
        """Take the world's present instant as the one that belongs to the real present."""
        self._from, self._since = self._world.at, self._real()

    def tick(self) -> None:
        """Let everything happen that is due by now."""
        at = self._from + int((self._real() - self._since) * self._speed)
        if at > self._world.at:
            self._world.advance(moment(at))
