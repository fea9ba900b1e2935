"""The clock of waits and budgets, faster in tests and benchmarks; and what was sent in its last minutes."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from airflow_provider_xpander.api.routes import Priority


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
        return self.at(time.time())

    def at(self, moment: float) -> float:
        """
        Return what this clock shows at a moment.

        :param moment: real Unix seconds.
        """
        return moment + (moment - self._origin) * (self.speed - 1.0)

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


class Window:
    """
    Requests that were sent in the last so many seconds.

    :param seconds: its length.
    :param limit: requests that are allowed in it; 0 for no limit.
    """

    def __init__(self, seconds: float, limit: int) -> None:
        self.seconds = seconds
        self.limit = limit
        self.counts = [0] * len(Priority)
        self._sent: deque[tuple[float, Priority]] = deque()

    def note(self, priority: Priority, now: float) -> None:
        """
        Count a request.

        :param priority: of the request.
        :param now: seconds of the steady clock at which it was sent, which may be long ago.
        """
        place = len(self._sent)
        while place and self._sent[place - 1][0] > now:
            place -= 1
        self._sent.insert(place, (now, priority))
        self.counts[priority] += 1

    def trim(self, now: float) -> None:
        """
        Forget what has left the window.

        :param now: seconds of the steady clock.
        """
        while self._sent and now - self._sent[0][0] >= self.seconds:
            self.counts[self._sent.popleft()[1]] -= 1

    def until_fewer(self, number: int, now: float) -> float:
        """
        Return the seconds until so many requests have left the window.

        :param number: how many.
        :param now: seconds of the steady clock.
        """
        if number > len(self._sent):
            return self.seconds
        return max(0.0, self._sent[number - 1][0] + self.seconds - now)

    @property
    def total(self) -> int:
        """All that was sent in the window."""
        return len(self._sent)

    @property
    def work(self) -> int:
        """What was sent in the window besides polls."""
        return self.counts[Priority.STOP] + self.counts[Priority.READ] + self.counts[Priority.SUBMIT]

    @property
    def polls(self) -> int:
        """Polls and checks that were sent in the window."""
        return self.counts[Priority.POLL] + self.counts[Priority.CHECK]
