"""The sign of life of a long wait: a line now and then, ever less often."""

from __future__ import annotations

FIRST = 300.0
"""Seconds from the beginning of a wait to its first sign of life."""
LONGEST = 3600.0
"""The longest time from one to the next, which doubles up to that."""


def next_sign(waited: float) -> float:
    """
    Return the seconds from the beginning of a wait to the next of its signs of life.

    :param waited: seconds from its beginning until now.
    """
    moment = distance = FIRST
    while moment <= waited:
        distance = min(LONGEST, 2 * distance)
        moment += distance
    return moment


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
