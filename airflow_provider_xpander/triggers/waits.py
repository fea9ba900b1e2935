"""The waits of one connection: what an answer, a failure or the time does to them, and who is told."""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from airflow_provider_xpander.api import clock
from airflow_provider_xpander.api.errors import (
    XpanderAuthError,
    XpanderConnectionError,
    XpanderError,
    XpanderRateLimitError,
    XpanderServiceError,
    printable,
)
from airflow_provider_xpander.api.governor import Governor
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.routes import Priority, RawPage
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.api.status import TaskStatus, normalize_status
from airflow_provider_xpander.runs.log.status_log import next_sign, sign_of_life
from airflow_provider_xpander.runs.polling.listing import Row, row_of
from airflow_provider_xpander.runs.polling.scheduler import Plan
from airflow_provider_xpander.runs.polling.waiters import Action, Look, ReadPage, Waiter
from airflow_provider_xpander.runs.watch import Again, End, Over, Watch, end_of
from airflow_provider_xpander.telemetry import WaitMetrics

log = logging.getLogger(__name__)

LATE = 5.0
"""Seconds behind its deadline at which a wait ends also if no last look was possible."""
LISTED = ("id", "status", "updated_at")
"""What of a row of a list is of interest to a wait."""
FRESH = 120.0
"""Seconds for which a run is young enough that its submit surely counts in the present hour."""

Report = Callable[[Task, Settings], None]
"""Is given a task whenever something new is known about it, and the settings of its connection."""


@dataclass(slots=True, eq=False)
class Tag:
    """
    What is kept with a wait.

    :param over: is given the end.
    :param report: is given the task whenever something new is known about it.
    :param log: where signs of life go.
    :param context: that of the trigger: whose log a line belongs to depends on it.
    """

    over: asyncio.Future[Over]
    report: Report
    log: Any
    context: contextvars.Context
    trouble: str | None = None


class Waits:
    """
    All waits of one poller.

    :param metrics: where to count.
    """

    def __init__(self, metrics: WaitMetrics) -> None:
        self.plan = Plan()
        self._metrics = metrics
        self._settings = Settings()
        self._governor: Governor | None = None
        self._offset = clock.CLOCK.time() - clock.CLOCK.steady()
        self._failing_since = 0.0
        self._timers: list[tuple[float, int, Callable[[Waits, Waiter], None], Waiter]] = []
        self._late: set[Waiter] = set()
        self._number = itertools.count()

    def now(self) -> float:
        """Return Unix seconds that never jump."""
        return self._offset + clock.CLOCK.steady()

    def open(self, settings: Settings, governor: Governor) -> None:
        """Take the settings of the connection, and tell its budget what the workers of the runs send."""
        self._settings, self._governor = settings, governor
        for waiter in self.plan.waiters:
            self._guess_submit(waiter)

    def shut(self) -> None:
        """Tell the budget no more."""
        self._governor = None

    def add(
        self,
        watch: Watch,
        *,
        agent_id: str | None,
        created: float | None,
        report: Report,
        log: Any,
    ) -> Waiter:
        """Take a wait in; its end comes to ``tag.over``."""
        now = self.now()
        over: asyncio.Future[Over] = asyncio.get_running_loop().create_future()
        tag = Tag(over, report, log, contextvars.copy_context())
        waiter = Waiter(watch, agent_id, created, now, tag)
        self.plan.add(waiter, now)
        self._at(now + next_sign(0.0), Waits._beat, waiter)
        if watch.deadline is not None:
            self._at(watch.deadline, Waits._due, waiter)
        self._guess_submit(waiter)
        return waiter

    def forget(self, waiter: Waiter) -> None:
        """Drop a wait that is over, or that nobody waits for any more."""
        if not waiter.gone:
            self.plan.remove(waiter, self.now())
            self._late.discard(waiter)
        waiter.tag = None  # a timer may hold the rest for some time

    def fail(self, error: Exception) -> None:
        """End all waits with an exception."""
        for waiter in self.plan.waiters:
            if not waiter.tag.over.done():
                waiter.tag.over.set_exception(error)

    def take(self, action: Action, answer: Task | RawPage | XpanderError) -> None:
        """Take what came back."""
        now = self.now()
        self.plan.landed(action)
        if isinstance(answer, XpanderError):
            self._take_error(action, answer, now)
            return
        self.plan.answered(action, now)
        if isinstance(action, Look) and isinstance(answer, Task):
            if not action.waiter.gone:
                self._take_task(action.waiter, answer, now)
        elif isinstance(action, ReadPage) and isinstance(answer, RawPage):
            self._take_page(action, answer, now)

    def run_timers(self, now: float) -> float:
        """Do what the time has come for; return the seconds to the next."""
        due: list[Waiter] = []
        while self._timers and self._timers[0][0] <= now:
            _, _, act, waiter = heapq.heappop(self._timers)
            if not waiter.gone:
                act(self, waiter)
                due += [waiter] if act is Waits._due else []
        self.plan.hurry(due, now, by_list=True)
        return self._timers[0][0] - now if self._timers else float("inf")

    def _take_task(self, waiter: Waiter, task: Task, now: float) -> None:
        updated = task.updated_at.timestamp() if task.updated_at else waiter.last[1] if waiter.last else None
        waiter.last = (task.raw_status, updated)
        again = self._news(waiter, task)
        if again is None:
            return
        if waiter.agent_id is None and task.agent_id is not None:
            created = task.created_at.timestamp() if task.created_at else None
            self.plan.move(waiter, task.agent_id, created, now)
        else:
            self.plan.looked(waiter, again.seconds, now)

    def _take_page(self, action: ReadPage, page: RawPage, now: float) -> None:
        agent = action.agent
        rows = [row_of(item) for item in page.items]
        for waiter, row in self.plan.took_page(agent, rows, page.total_pages, now):
            if not waiter.gone:  # by an earlier row: pages shift, and show a task twice
                self._take_row(waiter, row, now)
        if not agent.listing.is_walking:
            for waiter in [waiter for waiter in self._late if waiter.agent_id == agent.id]:
                if agent.is_listed(waiter):
                    self._end_late(waiter)

    def _take_row(self, waiter: Waiter, row: Row, now: float) -> None:
        status = normalize_status(row.status)
        if waiter.is_own:
            if status.is_terminal:
                self.plan.hurry([waiter], now)  # of which turn it is, only the task tells
        elif status is TaskStatus.PAUSED or (waiter.watch.asked is not None and not status.is_terminal):
            self.plan.hurry([waiter], now)  # why, and whether still, only the task tells
        elif waiter.watch.status is not status or status.is_terminal:
            with suppress(ValidationError):
                # Not the answer, which may be long: whoever resumes reads it.
                self._news(waiter, Task.model_validate({key: row.item.get(key) for key in LISTED}))

    def _news(self, waiter: Waiter, task: Task) -> Again | None:
        tag: Tag = waiter.tag
        tag.trouble = None
        try:
            tag.context.run(tag.report, task, self._settings)
        except Exception as error:  # what is only told may not end this wait, nor all others
            log.warning("What is new about xpander task %s could not be told: %s", task.id, error)
        verdict = waiter.watch.after_task(task, self.now())
        if isinstance(verdict, Again):
            return verdict
        self._finish(waiter, verdict)
        return None

    def _take_error(self, action: Action, error: XpanderError, now: float) -> None:
        if isinstance(error, XpanderRateLimitError):
            self._metrics.throttled()
            self.plan.put_back(action)
            return
        if isinstance(error, XpanderAuthError) and error.status_code == 401:
            # Credentials that were just read are refused, whatever they are used for.
            for waiter in self.plan.waiters:
                self._finish(waiter, waiter.watch.over(End.ERROR, error=error))
            return
        unreachable = isinstance(error, XpanderConnectionError | XpanderServiceError)
        if unreachable:
            self._take_failure(action, error, now)
        else:
            self.plan.answered(action, now)
        if isinstance(action, ReadPage):
            self.plan.page_failed(action, useless=not unreachable, now=now)
        elif not action.waiter.gone:
            self._take_look_error(action.waiter, error, now)

    def _take_look_error(self, waiter: Waiter, error: XpanderError, now: float) -> None:
        verdict = waiter.watch.after_error(error, now)
        if isinstance(verdict, Over):
            self._finish(waiter, verdict)
            return
        tag: Tag = waiter.tag
        if tag.trouble is None:
            tag.context.run(tag.log.warning, "%s The wait goes on.", error)
        tag.trouble = printable(error, 200)
        self.plan.looked(waiter, verdict.seconds, now)

    def _take_failure(self, action: Action, error: XpanderError, now: float) -> None:
        if not self.plan.failures:
            self._failing_since = now
        longest = action.waiter.watch.poll_interval if isinstance(action, Look) else action.agent.slowest
        if not self.plan.failed(longest, now):
            return
        trouble = printable(error, 200)
        for waiter in self.plan.waiters:
            waiter.tag.trouble = waiter.tag.trouble or trouble
            over = waiter.watch.in_outage(error, self._failing_since, now)
            if over is not None:
                self._finish(waiter, over)

    def _finish(self, waiter: Waiter, over: Over) -> None:
        tag: Tag = waiter.tag
        self.forget(waiter)
        if tag.over.done():
            return
        tag.over.set_result(over)
        if over.end is End.FINISHED and over.task is not None:
            ended = end_of(over.task)
            if ended is not None:
                self._metrics.detected(self.now() - ended)
            if self._governor is not None:
                self._governor.guess(Priority.READ, clock.CLOCK.steady())

    def _guess_submit(self, waiter: Waiter) -> None:
        """Count the request that has started a run, which a worker has sent."""
        if self._governor is None or waiter.created is None:
            return
        if waiter.began - waiter.created < FRESH:
            self._governor.guess(Priority.SUBMIT, clock.CLOCK.steady())

    def _at(self, moment: float, act: Callable[[Waits, Waiter], None], waiter: Waiter) -> None:
        heapq.heappush(self._timers, (moment, next(self._number), act, waiter))
        if len(self._timers) > 4 * self.plan.waiting + 100:
            self._timers = [timer for timer in self._timers if not timer[3].gone]
            heapq.heapify(self._timers)

    def _due(self, waiter: Waiter) -> None:
        """The deadline has come: the wait ends with the look that follows, or without one."""
        self._late.add(waiter)
        self._at(self.now() + LATE, Waits._end_late, waiter)

    def _end_late(self, waiter: Waiter) -> None:
        over = waiter.watch.without_news(self.now())
        if over is not None:
            self._finish(waiter, over)

    def _beat(self, waiter: Waiter) -> None:
        tag, now, status = waiter.tag, self.now(), waiter.watch.status
        line = sign_of_life(
            waiter.watch.task_id,
            status.value if status else None,
            now - (waiter.created or waiter.began),
            self.plan.next_look(waiter, now),
            tag.trouble,
        )
        tag.context.run(tag.log.info, "%s", line)
        self._at(waiter.began + next_sign(now - waiter.began), Waits._beat, waiter)
