"""The times of a wait: its deadline, the interval between two polls, the pace of an outage."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta

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


def until_old_enough(began: float, least: float, now: float) -> float:
    """
    Return the seconds until a deferral may end.

    They are counted from the start of its trigger, which comes after the deferral whatever the clock of the
    worker says.

    :param began: seconds of a steady clock at which the trigger began.
    :param least: seconds that the deferral lasts at the least.
    :param now: seconds of the same clock.
    """
    return max(0.0, began + least - now)


BACKSTOP = 300.0
"""Seconds after the own deadline at which Airflow's deferral time-out ends a wait whose trigger is gone."""


def backstop(deadline: float | None, now: float) -> timedelta | None:
    """
    Return the time after which Airflow itself ends a deferral, None for no limit.

    :param deadline: Unix seconds at which the wait ends, or None.
    :param now: Unix seconds of the deferral.
    """
    return None if deadline is None else timedelta(seconds=max(1.0, deadline - now + BACKSTOP))


def clock_shift(deferred_at: float, now: float, earliest: float | None, latest: float | None) -> float:
    """
    Return what to add to the moments that a worker has set, to have them by the clock of this process.

    It is 0 where the deferral can have been when the worker says.

    :param deferred_at: Unix seconds of the deferral by the clock of the worker.
    :param now: Unix seconds by the clock here: the deferral is not later.
    :param earliest: Unix seconds by a clock in step with the one here, before which the deferral was not;
        None if that is not known.
    :param latest: the same, after which it was not.
    """
    here = deferred_at if earliest is None else max(deferred_at, earliest)
    return min(here, now if latest is None else latest) - deferred_at


RESUMING = 240.0
"""Seconds that Airflow may take to resume a task: less than that passes on a clock that is not ahead, too."""


def resume_shift(clock: float | None, now: float) -> float:
    """
    Return what to add to the moments of the worker that has deferred, to have them by the clock here.

    :param clock: Unix seconds that the first worker's clock showed when the trigger fired; None if that is
        not known.
    :param now: Unix seconds by the clock of the worker that resumes.
    """
    return 0.0 if clock is None or 0 <= now - clock <= RESUMING else now - clock


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
