"""The times of a wait: its deadline, the interval between two polls, the pace of an outage."""

from __future__ import annotations

import random
from collections.abc import Callable

QUICKEST = 5.0
"""Seconds between the polls of a run that has just begun, unless the author's interval is shorter."""
SHARE = 0.25
"""How late the end of a run may be noticed, as a share of its age."""

CHECK_LEAST = 600.0
"""Seconds between two reads of each single task whose end the list is expected to show, if they are few."""
CHECK_MOST = 7200.0
"""The same where they are many: also a list that lies strands no run for longer."""
CHECKS_A_ROUND = 4
"""How many of these reads there are in a poll interval, where they are many."""


def look_interval(age: float, poll_interval: float) -> float:
    """
    Return the seconds from one poll to the next, before jitter; never more than the author's interval.

    :param age: seconds since the run was started.
    :param poll_interval: the author's interval.
    """
    return min(poll_interval, max(QUICKEST, age * SHARE))


def check_interval(waiting: int, poll_interval: float) -> float:
    """
    Return the seconds between two reads of each single task that is otherwise followed through a list.

    :param waiting: how many there are.
    :param poll_interval: their interval.
    """
    least = max(CHECK_LEAST, 20 * poll_interval)
    return min(max(least, waiting * poll_interval / CHECKS_A_ROUND), max(least, CHECK_MOST))


OUTAGE_FROM = 3
"""Failures in a row, of whatever kind, after which only one request at a time tries whether it is over."""
OUTAGE_STEP = 2.0
"""Seconds to the next try in an outage; doubled for each further one, up to the interval."""


class Outage:
    """
    The failures in a row of all requests on one connection.

    :param rng: gives a float in [0, 1) for the jitter.
    """

    def __init__(self, rng: Callable[[], float] = random.random) -> None:
        self.since = 0.0
        """Unix seconds of the first failure."""
        self.quiet_until = float("-inf")
        """Unix seconds before which nothing is asked."""
        self._failures = 0
        self._rng = rng

    @property
    def is_on(self) -> bool:
        """Whether requests have only failed for some time."""
        return self._failures >= OUTAGE_FROM

    def note_failure(self, interval: float, now: float) -> None:
        """
        Take note that nothing, or nonsense, came back.

        :param interval: seconds to the next try at the most.
        :param now: Unix seconds.
        """
        if not self._failures:
            self.since = now
        self._failures += 1
        if self.is_on:
            step = OUTAGE_STEP * 2.0 ** min(self._failures - OUTAGE_FROM, 20)
            self.quiet_until = now + jittered(min(step, interval), rng=self._rng)

    def end(self) -> None:
        """Take note of a reply."""
        self._failures, self.quiet_until = 0, float("-inf")


def until_old_enough(deferred_at: float | None, least: float, now: float) -> float:
    """
    Return the seconds until a deferral may end.

    :param deferred_at: Unix seconds of the deferral by the worker's clock; None, as of earlier versions, if
        it is not known: then it may end at once.
    :param least: seconds that it lasts at the least; also the most that is returned, whatever the clocks say.
    :param now: Unix seconds.
    """
    return 0.0 if deferred_at is None else min(max(0.0, deferred_at + least - now), least)


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


def jittered(seconds: float, spread: float = 0.2, rng: Callable[[], float] = random.random) -> float:
    """
    Spread an interval over plus or minus the given share, so that pollers drift apart.

    :param seconds: the interval.
    :param spread: from 0 to 1.
    :param rng: gives a float in [0, 1).
    """
    return seconds * (1 - spread + 2 * spread * rng())
