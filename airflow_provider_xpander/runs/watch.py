"""The wait for one run: after each poll it decides to poll again, and when, or that it is over, and why."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from airflow_provider_xpander.api.errors import XpanderError, XpanderNotFoundError, XpanderRateLimitError
from airflow_provider_xpander.api.exchange import Sleep, Steps, exchange
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.retry import ONCE, RetryPolicy
from airflow_provider_xpander.api.routes import as_poll, get_task
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.runs.error_policy import PASSING
from airflow_provider_xpander.runs.timing import jittered, look_interval

log = logging.getLogger(__name__)

OnPaused = Literal["wait", "fail", "ask"]

NOT_FOUND_GRACE = 60.0
"""Seconds for which an unknown task is taken for one that is not visible yet (contract section 10)."""
OUTAGE_BUDGET = 3600.0
"""Seconds in which every request fails after which a wait that has no deadline gives up."""
OUTAGE_FAILURES = 3
"""Failures in a row that this takes at least: two isolated ones far apart are no outage."""

RESUME_PATIENCE = 600.0
"""Seconds for which the worker tries to fetch the answer of a run that the trigger saw end."""
RESUME_INTERVAL = 10.0
"""Seconds between two such tries."""
STOP_PATIENCE = 5.0
"""Seconds to see how a run ends that was stopped: the stop takes a while, and the run may complete first."""


class End(StrEnum):
    """Why a wait is over."""

    FINISHED = "finished"
    PAUSED = "paused"
    TIMEOUT = "timeout"
    ERROR = "error"


@dataclass(frozen=True)
class Again:
    """
    Poll again.

    :param seconds: after which to do so.
    """

    seconds: float


@dataclass(frozen=True)
class Over:
    """
    The wait is over.

    :param end: why.
    :param task: the task as last seen, if it was seen and remembered.
    :param error: what made further polls pointless, with ``End.ERROR``.
    :param seen: the status as last seen, where the task was seen but not remembered.
    """

    end: End
    task: Task | None = None
    error: XpanderError | None = None
    seen: TaskStatus | None = None

    @property
    def status(self) -> TaskStatus | None:
        """The status as last seen."""
        return self.task.status if self.task is not None else self.seen

    def fetched(self, task_id: str) -> Task:
        """
        Return the task of a run that has ended.

        :param task_id: the run, for the message.
        :raises XpanderError: it could not be read.
        """
        if self.end is End.FINISHED and self.task is not None:
            return self.task
        raise self.error or XpanderError(
            f"xpander task {task_id} has ended, but its answer could not be fetched"
        )


@dataclass(slots=True)
class Watch:
    """
    The wait for one run. It decides; it neither sleeps nor asks.

    :param task_id: the remote task.
    :param poll_interval: seconds between two polls, spread by a fifth either way; a run that has just begun
        is polled more often (``runs/timing.py``).
    :param deadline: Unix seconds at which the wait ends, or None.
    :param on_paused: whether a paused run ends the wait.
    :param newer_than: Unix seconds; an end as old as that is of the thread's previous turn, which reads may
        still show after the next one was posted (contract 2.3).
    :param asked: the pause that a person was asked about already (``Task.pause``); only another one ends
        the wait.
    :param since: Unix seconds at which the run was started; the first poll if unknown.
    :param brief: whether to remember of a task no more than its status from one poll to the next, as where
        thousands wait.
    :param status: as last seen.
    """

    task_id: str
    poll_interval: float = 30.0
    deadline: float | None = None
    on_paused: OnPaused = "wait"
    newer_than: float | None = None
    asked: str | None = None
    since: float | None = None
    brief: bool = False
    status: TaskStatus | None = None
    _seen: Task | None = field(default=None, init=False)
    _missing_since: float | None = field(default=None, init=False)
    _failing_since: float | None = field(default=None, init=False)
    _failures: int = field(default=0, init=False)

    def after_task(self, task: Task, now: float) -> Again | Over:
        """
        Decide after a poll that gave the task.

        :param task: the task as it is now.
        :param now: Unix seconds.
        """
        self._seen, self.status = None if self.brief else task, task.status
        self.note_sign_of_life()
        if self.has_ended(task):
            return self.over(End.FINISHED, task)
        pause = task.pause
        if pause is None:
            self.asked = None
        elif self.on_paused != "wait" and pause != self.asked:
            return self.over(End.PAUSED, task)
        return self._again(self.interval(now), now)

    def note_sign_of_life(self) -> None:
        """Take note that a list has shown the run, if only as it was: what had failed before was passing."""
        self._missing_since = None
        self._end_outage()

    def over(self, end: End, task: Task | None = None, error: XpanderError | None = None) -> Over:
        """
        Return an end of the wait, with what is known of the task.

        :param end: why.
        :param task: the task, if the last poll gave it.
        :param error: what made further polls pointless, with ``End.ERROR``.
        """
        task = task or self._seen
        return Over(end, task, error, None if task else self.status)

    def interval(self, now: float) -> float:
        """
        Return the seconds to the next poll of a run that goes on, before jitter.

        :param now: Unix seconds.
        """
        if self.since is None:
            self.since = now
        return look_interval(max(0.0, now - self.since), self.poll_interval)

    def without_news(self, now: float) -> Over | None:
        """
        Decide where the deadline may have come and nothing new is known; None means to go on.

        :param now: Unix seconds.
        """
        late = self.deadline is not None and now >= self.deadline
        return self.over(End.TIMEOUT) if late else None

    def in_outage(self, error: XpanderError, since: float, now: float) -> Over | None:
        """
        Decide while all requests fail, whatever they ask for; None means to go on.

        :param error: of the last request.
        :param since: Unix seconds of the first one that failed.
        :param now: Unix seconds.
        """
        if self.deadline is None and now - since >= OUTAGE_BUDGET:
            return self.over(End.ERROR, error=error)
        return self.without_news(now)

    def after_error(self, error: XpanderError, now: float) -> Again | Over:
        """
        Decide after a poll that failed: what may pass is waited for, up to the deadline.

        :param error: why it failed.
        :param now: Unix seconds.
        """
        if not isinstance(error, PASSING) or isinstance(error, XpanderRateLimitError):
            self._end_outage()  # it is a word of the service, which therefore is there
        if isinstance(error, XpanderNotFoundError):
            self._missing_since = now if self._missing_since is None else self._missing_since
            if now - self._missing_since < NOT_FOUND_GRACE:
                return self._again(min(self.poll_interval, 5.0), now)
            return self.over(End.ERROR, error=error)
        if isinstance(error, XpanderRateLimitError):
            return self._again(max(self.poll_interval, error.retry_after or 0.0), now)
        if isinstance(error, PASSING):
            self._failing_since = now if self._failing_since is None else self._failing_since
            self._failures += 1
            too_long = now - self._failing_since >= OUTAGE_BUDGET and self._failures >= OUTAGE_FAILURES
            if self.deadline is None and too_long:
                return self.over(End.ERROR, error=error)
            asked = getattr(error, "retry_after", None) or 0.0
            return self._again(max(self.poll_interval, asked), now)
        return self.over(End.ERROR, error=error)

    def has_ended(self, task: Task) -> bool:
        """
        Whether the run has ended, rather than the previous turn of its thread.

        :param task: the task as it is now.
        """
        ended = end_of(task)
        old = self.newer_than is not None and ended is not None and ended <= self.newer_than
        return task.status.is_terminal and not old

    def _end_outage(self) -> None:
        self._failing_since, self._failures = None, 0

    def _again(self, seconds: float, now: float) -> Again | Over:
        if self.deadline is None:
            return Again(jittered(seconds))
        if now >= self.deadline:
            return self.over(End.TIMEOUT)
        return Again(min(jittered(seconds), self.deadline - now))


def end_of(task: Task) -> float | None:
    """
    Return the Unix second at which a task's latest turn ended, as far as the service tells.

    :param task: one that has ended.
    """
    ended = task.finished_at or task.updated_at
    return ended.timestamp() if ended else None


def get_task_patiently(
    task_id: str, *, poll: bool = False, clock: Callable[[], float] = time.time
) -> Steps[Task]:
    """
    Read a task once, patient with one that is not visible yet.

    :param task_id: the remote task.
    :param poll: whether it is only to see if something has changed, so that all else comes first.
    :param clock: gives Unix seconds.
    :raises XpanderError: it cannot be read.
    """
    watch = Watch(task_id)
    call = as_poll(get_task(task_id)) if poll else get_task(task_id)
    while True:
        try:
            return (yield from exchange(call, RetryPolicy()))
        except XpanderNotFoundError as error:
            verdict = watch.after_error(error, clock())
            if isinstance(verdict, Over):
                raise
        yield Sleep(verdict.seconds)


def poll_until_done(
    watch: Watch,
    *,
    report: Callable[[Task], None] = lambda task: None,
    waiting: Callable[[float], None] = lambda seconds: None,
    clock: Callable[[], float] = time.time,
) -> Steps[Over]:
    """
    Read a task until the wait is over: at once, then as the limits of the service allow.

    :param watch: the wait.
    :param report: is given the task after each poll.
    :param waiting: is told the seconds to the next poll.
    :param clock: gives Unix seconds.
    """
    poll = False
    while True:
        verdict = yield from poll_once(watch, poll=poll, report=report, clock=clock)
        if isinstance(verdict, Over):
            return verdict
        poll = True
        waiting(verdict.seconds)
        yield Sleep(verdict.seconds)


def poll_once(
    watch: Watch,
    *,
    poll: bool = True,
    report: Callable[[Task], None] = lambda task: None,
    clock: Callable[[], float] = time.time,
) -> Steps[Again | Over]:
    """
    Read a task once and decide.

    :param watch: the wait.
    :param poll: whether it is only to see if something has changed, so that all else comes first.
    :param report: is given the task.
    :param clock: gives Unix seconds.
    """
    call = get_task(watch.task_id)
    try:
        task = yield from exchange(as_poll(call) if poll else call, ONCE)
    except XpanderError as error:
        verdict = watch.after_error(error, clock())
        if isinstance(verdict, Again):
            log.warning("%s The wait goes on.", error)
        return verdict
    report(task)
    return watch.after_task(task, clock())
