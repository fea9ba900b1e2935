"""Signs of life of a long wait, at a growing distance: a reader of the log sees that somebody still looks."""

from __future__ import annotations

from dataclasses import dataclass, field

FIRST = 60.0
"""Seconds from the beginning of the wait to the first sign."""
LONGEST = 1800.0
"""Seconds between two signs at the most; the distance doubles up to there."""


@dataclass
class Heartbeat:
    """
    Tell when a sign of life is due.

    :param since: Unix seconds at which the wait began.
    """

    since: float
    _due: float = field(init=False)
    _distance: float = field(default=FIRST, init=False)

    def __post_init__(self) -> None:
        self._due = self.since + FIRST

    def line(self, now: float, status: str, next_look: float) -> str | None:
        """
        Return what to say, or None while nothing is due.

        :param now: Unix seconds.
        :param status: the status as last seen.
        :param next_look: seconds until the next look.
        """
        if now < self._due:
            return None
        self._distance = min(self._distance * 2, LONGEST)
        self._due = now + self._distance
        return f"still {status} after {_span(now - self.since)}; next look in {next_look:.0f} s"


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
