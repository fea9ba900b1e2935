"""How fast requests may be sent without being refused: never more than the limits in any window of time."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Pace:
    """
    Tell how long to wait before the next request.

    :param per_minute: requests allowed in a minute; 0 for no limit.
    :param per_hour: requests allowed in an hour; 0 for no limit.
    """

    per_minute: int
    per_hour: int
    _sent: list[float] = field(default_factory=list, init=False)

    def delay(self, now: float) -> float:
        """
        Return the seconds after which the next request keeps both limits, 0 for at once.

        :param now: seconds of any steady clock.
        """
        self._sent = [moment for moment in self._sent if now - moment < 3600]
        return max(self._until(self.per_minute, 60.0, now), self._until(self.per_hour, 3600.0, now))

    def note(self, now: float) -> None:
        """Note that a request is sent now."""
        self._sent.append(now)

    def _until(self, limit: int, window: float, now: float) -> float:
        if not limit or len(self._sent) < limit:
            return 0.0
        # The request that has to leave the window before the next may be sent.
        return max(0.0, self._sent[-limit] + window - now)
