"""The pace of a bulk task's worker: it sleeps a few seconds for the request budget, then it has to defer."""

from __future__ import annotations

from airflow_provider_xpander.api import clock
from airflow_provider_xpander.api.client import sleep
from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.api.exchange import TooLong
from airflow_provider_xpander.api.governor import HOUR, Governor
from airflow_provider_xpander.api.routes import Priority
from airflow_provider_xpander.bulk.state import State
from airflow_provider_xpander.runs.watch import OUTAGE_BUDGET

SLICE = 10.0
"""Seconds that a worker sleeps for budget between two deferrals, in all."""
TROUBLE = 30.0
"""Seconds to the next try where the service is away."""
SHORTEST = 30.0
"""Seconds of the shortest wait for budget that is worth a deferral."""

Sent = tuple[tuple[float, int, int], ...]


class Pace:
    """
    Tells when a request may be sent, and until when to wait if none may.

    :param governor: the budget of this process.
    """

    def __init__(self, governor: Governor) -> None:
        self._governor = governor
        self._before: Sent = ()
        self._left = SLICE
        self._counts = {Priority.SUBMIT: 0, Priority.READ: 0, Priority.STOP: 0}
        self.until: float | None = None
        """Unix seconds at which more may be sent, if it is not now."""

    def remember(self, sent: Sent) -> None:
        """
        Take note of what this task's workers have sent before, as far as this host does not know of it.

        :param sent: as the state has it.
        """
        self._before, governor, now = sent, self._governor, clock.CLOCK.steady()
        governor.hear_host(now)
        counts = governor.hour.counts
        known = {Priority.SUBMIT: counts[Priority.SUBMIT]}
        known[Priority.READ] = counts[Priority.READ] + counts[Priority.STOP]
        for at, submits, reads in sent:
            age = clock.CLOCK.time() - at
            for kind, count in ((Priority.SUBMIT, submits), (Priority.READ, reads)) if age < HOUR else ():
                # Whose the others are is not known: all of them may be this task's.
                unknown = max(0, count - known[kind])
                known[kind] -= count - unknown
                for _ in range(unknown):
                    governor.count(kind, now - age, now)

    def begin(self) -> None:
        """Begin a step: what was waited for is over."""
        self._left, self.until = SLICE, None

    def sleep(self, seconds: float) -> None:
        """
        Sleep, for as long as a worker may that could defer instead; all its requests wait like this.

        :param seconds: of the clock of budgets.
        :raises TooLong: it would be too long, with what was slept before.
        """
        if seconds > self._left:
            self.wait(max(seconds, SHORTEST))
            raise TooLong(f"Nothing can be sent for {seconds:.0f} s, so the worker is given back.")
        self._left -= seconds
        sleep(seconds)

    def may(self, kind: Priority) -> bool:
        """
        Whether a request may be sent after a wait that a worker can afford; it is counted as sent then.

        :param kind: of the request.
        """
        if self.until is not None:
            return False
        delay = self._governor.delay(kind, clock.CLOCK.steady())
        if delay > self._left:
            self.wait(max(delay, SHORTEST))
            return False
        self._counts[kind] += 1
        return True

    def wait(self, seconds: float) -> None:
        """
        Note that nothing can be sent for a while.

        :param seconds: how long.
        """
        self.until = max(self.until or 0.0, clock.CLOCK.time() + seconds)

    def trouble(self, error: XpanderError, state: State) -> float:
        """
        Note that the service is away; give up when it has been for long.

        :param error: what came of a request.
        :param state: of the task.
        :return: Unix seconds since which it is.
        :raises XpanderError: it has been for an hour.
        """
        since = clock.CLOCK.time() if state.trouble is None else state.trouble
        if clock.CLOCK.time() - since >= OUTAGE_BUDGET:
            raise error
        self.wait(max(TROUBLE, getattr(error, "retry_after", None) or 0.0))
        return since

    @property
    def sent(self) -> Sent:
        """What this task's workers have sent in the last hour."""
        now = clock.CLOCK.time()
        others = self._counts[Priority.READ] + self._counts[Priority.STOP]
        own = (now, self._counts[Priority.SUBMIT], others)
        return (*(one for one in self._before if now - one[0] < HOUR), *([own] if any(own[1:]) else []))
