"""The sign of life of a long wait: a line now and then, ever less often."""

from __future__ import annotations

from dataclasses import dataclass

FIRST = 300.0
"""Seconds from the beginning of a wait to its first sign of life."""
LONGEST = 3600.0
"""The longest time from one to the next, which doubles up to that."""


@dataclass(slots=True)
class Heartbeat:
    """
    When to write the next line.

    :param began: Unix seconds at which the wait began.
    """

    began: float
    distance: float = FIRST

    @property
    def first(self) -> float:
        """Unix seconds of the first line."""
        return self.began + self.distance

    def next(self, now: float) -> float:
        """Return the Unix seconds of the line after the one that is written now."""
        self.distance = min(LONGEST, self.distance * 2)
        return now + self.distance


def sign_of_life(
    task_id: str, status: str | None, waited: float, next_look: float, trouble: str | None
) -> str:
    """
    Say that a wait goes on.

    :param task_id: the remote task.
    :param status: as last seen, None if it never was.
    :param waited: seconds so far.
    :param next_look: seconds to the next look.
    :param trouble: why the last look failed, if it did.
    """
    state = f"is {status}" if status else "was not seen yet"
    failed = f"; the last look failed: {trouble}" if trouble else ""
    return f"xpander task {task_id} {state} after {_span(waited)}; next look in {_span(next_look)}{failed}"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
