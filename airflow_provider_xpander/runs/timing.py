"""The times of a wait: its deadline, and the interval from one look at a run to the next."""

from __future__ import annotations

QUICKEST = 5.0
"""Seconds between the looks at a run that has just begun, unless the author's interval is shorter."""
SHARE = 0.25
"""How late the end of a run may be noticed, as a share of its age."""

CHECK_LEAST = 600.0
"""Seconds between two looks at each single run whose end the list is expected to show, if they are few."""
CHECK_MOST = 7200.0
"""The same where they are many: also a list that lies strands no run for longer."""
CHECKS_A_ROUND = 4
"""How many of these looks there are in a poll interval, where they are many."""


def look_interval(age: float, poll_interval: float) -> float:
    """
    Return the seconds from one look to the next, before jitter; never more than the author's interval.

    :param age: seconds since the run was started.
    :param poll_interval: the author's interval.
    """
    return min(poll_interval, max(QUICKEST, age * SHARE))


def check_interval(waiting: int, poll_interval: float) -> float:
    """
    Return the seconds between two looks at each single run that is otherwise followed through a list.

    :param waiting: how many there are.
    :param poll_interval: their interval.
    """
    least = max(CHECK_LEAST, 20 * poll_interval)
    return min(max(least, waiting * poll_interval / CHECKS_A_ROUND), max(least, CHECK_MOST))


STOP_MARGIN = 10.0
"""Seconds before Airflow's ``execution_timeout`` at which the wait ends, so that the run can be stopped."""


def deadline_of(
    now: float, *, timeout: float | None, execution_timeout: float | None, started: float | None
) -> float | None:
    """
    Return the Unix second at which the wait ends, or None for no limit.

    :param now: Unix seconds of the submit.
    :param timeout: seconds from the submit.
    :param execution_timeout: seconds from the start of the attempt, Airflow's own limit. The wait ends a
        little earlier, by a tenth of it and at most by ``STOP_MARGIN``.
    :param started: Unix seconds of the start of the attempt; the submit if unknown.
    """
    limits = []
    if timeout is not None:
        limits.append(now + timeout)
    if execution_timeout is not None:
        margin = min(STOP_MARGIN, execution_timeout / 10)
        limits.append((now if started is None else started) + execution_timeout - margin)
    return min(limits, default=None)
