"""The time that waits and budgets go by: that of the machine, or a faster one in tests and benchmarks."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Clock:
    """
    A clock.

    :param speed: seconds of this clock in a real second.
    """

    speed: float = 1.0
    _origin: float = field(default_factory=time.time)

    def time(self) -> float:
        """Return Unix seconds."""
        return self._origin + (time.time() - self._origin) * self.speed

    def steady(self) -> float:
        """Return seconds that never jump."""
        return time.monotonic() * self.speed

    def real(self, seconds: float) -> float:
        """
        Return how long such a time really takes.

        :param seconds: of this clock.
        """
        return seconds / self.speed


CLOCK = Clock()
"""The clock in use; always read from this module, because it may be replaced."""
