"""When a wait has to end: one absolute time out of the author's time-out and Airflow's."""

from __future__ import annotations

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
