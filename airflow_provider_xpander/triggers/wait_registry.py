"""The waits of one connection: what a reply, a failure or the time does to them, and who is told."""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic import ValidationError

from airflow_provider_xpander.api import clock
from airflow_provider_xpander.api.errors import (
    XpanderAuthError,
    XpanderConnectionError,
    XpanderError,
    XpanderRateLimitError,
    XpanderServiceError,
)
from airflow_provider_xpander.api.governor import Governor
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.routes import Priority, RawPage
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.api.status import TaskStatus, normalize_status
from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.runs.log.status_log import next_sign, sign_of_life
from airflow_provider_xpander.runs.polling.listing import Row, row_of
from airflow_provider_xpander.runs.polling.scheduler import PollScheduler
from airflow_provider_xpander.runs.polling.waiters import Action, ReadPage, ReadTask, Waiter
from airflow_provider_xpander.runs.watch import Again, End, Over, Watch, end_of
from airflow_provider_xpander.telemetry import WaitMetrics

log = logging.getLogger(__name__)

LATE = 5.0
"""Seconds after its deadline at which a wait ends even if no last poll was possible."""
LISTED = ("id", "status", "updated_at")
"""The fields of a row that a wait needs."""
FRESH = 120.0
"""Seconds for which a run is so young that its submit surely counts in the present hour."""

Report: TypeAlias = Callable[[Task, Settings], None]
"""Is given a task whenever something new is known about it, and the settings of its connection."""


@dataclass(slots=True, eq=False)
class Owner:
    """
    The trigger that waits.

    :param over: is given the end.
    :param report: is given the task whenever something new is known about it.
    :param log: where signs of life go.
    :param context: that of the trigger: whose log a line belongs to depends on it.
    :param trouble: what keeps the wait from going on, in words; None if nothing does.
    """

    over: asyncio.Future[Over]
    report: Report
    log: Any
    context: contextvars.Context
    trouble: str | None = None


Wait: TypeAlias = Waiter[Owner]


class WaitRegistry:
    """
    All waits of one poller.

    :param metrics: where to count.
    """

    def __init__(self, metrics: WaitMetrics) -> None:
        self.scheduler: PollScheduler[Owner] = PollScheduler()
        self._metrics = metrics
        self._settings = Settings()
        self._governor: Governor | None = None
        self._offset = clock.CLOCK.time() - clock.CLOCK.steady()
        self._timers: list[tuple[float, int, Callable[[WaitRegistry, Wait], None], Wait]] = []
        self._late: set[Wait] = set()
        self._number = itertools.count()

    def now(self) -> float:
        """Return Unix seconds that never jump."""
        return self._offset + clock.CLOCK.steady()

    def use(self, settings: Settings, governor: Governor) -> None:
        """
        Take what the connection says now, and tell its budget what the workers of the runs send.

        :param settings: of the connection.
        :param governor: its budget.
        """
        is_new = governor is not self._governor
        self._settings, self._governor = settings, governor
        for waiter in self.scheduler.waiters if is_new else ():
            self._guess_submit(waiter)

    def shut(self) -> None:
        """Tell the budget no more."""
        self._governor = None

    def note_outage(self, error: XpanderConnectionError) -> None:
        """
        Take note that nothing can be asked; the waits go on, as long as an outage may last.

        :param error: why.
        """
        now = self.now()
        self.scheduler.outage.note_failure(0.0, now)
        for waiter in self.scheduler.waiters:
            if waiter.owner.trouble is None:
                waiter.owner.context.run(waiter.owner.log.warning, "%s The wait goes on.", error)
        self._suffer_outage(error, now)

    def add(
        self, watch: Watch, *, agent_id: str | None, created: float | None, report: Report, log: Any
    ) -> Wait:
        """
        Take a wait in; its end comes to ``owner.over``.

        :param watch: decides whether the wait is over; its deadline is a real moment.
        :param agent_id: of the agent or workflow, if known.
        :param created: Unix seconds at which the run was created, if known.
        :param report: is given the task whenever something new is known about it.
        :param log: where signs of life go.
        """
        now = self.now()
        over: asyncio.Future[Over] = asyncio.get_running_loop().create_future()
        owner = Owner(over, report, log, contextvars.copy_context())
        waiter = Waiter(watch, agent_id, created, now, owner)
        self.scheduler.add(waiter, now)
        self._at(now + next_sign(0.0), WaitRegistry._beat, waiter)
        if watch.deadline is not None:
            # It was set by a clock that is not faster than the real one.
            watch.deadline = clock.CLOCK.at(watch.deadline)
            self._at(watch.deadline, WaitRegistry._due, waiter)
        self._guess_submit(waiter)
        return waiter

    def remove(self, waiter: Wait) -> None:
        """
        Drop a wait that is over, or that nobody waits for any more.

        :param waiter: the wait.
        """
        if not waiter.gone:
            self.scheduler.remove(waiter, self.now())
            self._late.discard(waiter)
            del waiter.owner  # timers and queues hold the rest for some time

    def fail_all(self, error: Exception) -> None:
        """
        End all waits with an exception.

        :param error: the exception.
        """
        for waiter in self.scheduler.waiters:
            if not waiter.owner.over.done():
                waiter.owner.over.set_exception(error)

    def take(self, action: Action[Owner], result: Task | RawPage | XpanderError) -> None:
        """
        Take what came of a request.

        :param action: what was asked.
        :param result: the task or the page that was read, or the failure.
        """
        now = self.now()
        self.scheduler.end_request(action)
        if isinstance(result, XpanderError):
            self._take_error(action, result, now)
            return
        self.scheduler.note_reply(action, now)
        if isinstance(action, ReadTask) and isinstance(result, Task):
            if not action.waiter.gone:
                self._take_task(action.waiter, result, now)
        elif isinstance(action, ReadPage) and isinstance(result, RawPage):
            self._take_page(action, result, now)

    def run_timers(self, now: float) -> float:
        """
        Do what the time has come for; return the seconds to the next timer.

        :param now: Unix seconds.
        """
        due = []
        while self._timers and self._timers[0][0] <= now:
            _, _, act, waiter = heapq.heappop(self._timers)
            if not waiter.gone:
                act(self, waiter)
                due += [waiter] if act is WaitRegistry._due else []
        self.scheduler.poll_now(due, now, by_list=True)
        return self._timers[0][0] - now if self._timers else float("inf")

    def _take_task(self, waiter: Wait, task: Task, now: float) -> None:
        updated = task.updated_at.timestamp() if task.updated_at else waiter.seen[1] if waiter.seen else None
        waiter.seen = (task.raw_status, updated)
        if (again := self._news(waiter, task)) is None:
            return
        if waiter.agent_id is None and task.agent_id is not None:
            created = task.created_at.timestamp() if task.created_at else None
            self.scheduler.set_agent(waiter, task.agent_id, created, now)
        else:
            self.scheduler.poll_again(waiter, again.seconds, now)

    def _take_page(self, action: ReadPage[Owner], page: RawPage, now: float) -> None:
        agent = action.agent
        rows = [row_of(item) for item in page.items]
        for waiter in (waiter for row in rows for waiter in agent.waiters_of.get(row.id, ())):
            waiter.watch.note_sign_of_life()
            waiter.owner.trouble = None
        for waiter, row in self.scheduler.take_page(agent, rows, page.total_pages, now):
            if not waiter.gone:  # by an earlier row: pages shift, and show a task twice
                self._take_row(waiter, row, now)
        if not agent.in_round:
            for waiter in [waiter for waiter in self._late if waiter.agent_id == agent.id]:
                if agent.is_listed(waiter):
                    self._end_late(waiter)

    def _take_row(self, waiter: Wait, row: Row, now: float) -> None:
        status = normalize_status(row.status)
        if waiter.is_unlisted:
            if status.is_terminal:
                self.scheduler.poll_now([waiter], now)  # of which turn it is, only the task tells
        elif status is TaskStatus.PAUSED or (waiter.watch.asked is not None and not status.is_terminal):
            self.scheduler.poll_now([waiter], now)  # why, and whether still, only the task tells
        elif waiter.watch.status is not status or status.is_terminal:
            with suppress(ValidationError):
                # Not the answer, which may be long: whoever resumes reads it.
                self._news(waiter, Task.model_validate({key: row.item.get(key) for key in LISTED}))

    def _news(self, waiter: Wait, task: Task) -> Again | None:
        owner = waiter.owner
        owner.trouble = None
        try:
            owner.context.run(owner.report, task, self._settings)
        except Exception as error:  # what is only told may not end this wait, nor all others
            log.warning("What is new about xpander task %s could not be told: %s", task.id, error)
        verdict = waiter.watch.after_task(task, self.now())
        if isinstance(verdict, Again):
            return verdict
        self._finish(waiter, verdict)
        return None

    def _take_error(self, action: Action[Owner], error: XpanderError, now: float) -> None:
        if isinstance(error, XpanderRateLimitError):
            self._metrics.throttled()
            self.scheduler.outage.end()
            self.scheduler.repeat(action)
            return
        if isinstance(error, XpanderAuthError) and error.status_code == 401:
            # Credentials that were just read are refused, whatever they are used for.
            for waiter in self.scheduler.waiters:
                self._finish(waiter, waiter.watch.over(End.ERROR, error=error))
            return
        unreachable = isinstance(error, XpanderConnectionError | XpanderServiceError)
        if unreachable:
            self._take_failure(action, error, now)
        else:
            self.scheduler.note_reply(action, now)
        if isinstance(action, ReadPage):
            self.scheduler.note_page_failure(action, useless=not unreachable, now=now)
        elif not action.waiter.gone:
            self._take_task_error(action.waiter, error, now)

    def _take_task_error(self, waiter: Wait, error: XpanderError, now: float) -> None:
        verdict = waiter.watch.after_error(error, now)
        if isinstance(verdict, Over):
            self._finish(waiter, verdict)
            return
        owner = waiter.owner
        if owner.trouble is None:
            owner.context.run(owner.log.warning, "%s The wait goes on.", error)
        owner.trouble = printable(error, 200)
        self.scheduler.poll_again(waiter, verdict.seconds, now)

    def _take_failure(self, action: Action[Owner], error: XpanderError, now: float) -> None:
        self.scheduler.outage.note_failure(action.longest_interval, now)
        if self.scheduler.outage.is_on:
            self._suffer_outage(error, now)

    def _suffer_outage(self, error: XpanderError, now: float) -> None:
        """End the waits for which it takes too long, and let the others tell what keeps them."""
        trouble = printable(error, 200)
        for waiter in self.scheduler.waiters:
            waiter.owner.trouble = waiter.owner.trouble or trouble
            since = max(self.scheduler.outage.since, waiter.began)
            over = waiter.watch.in_outage(error, since, now)
            if over is not None:
                self._finish(waiter, over)

    def _finish(self, waiter: Wait, over: Over) -> None:
        ended = waiter.owner.over
        self.remove(waiter)
        if ended.done():
            return
        ended.set_result(over)
        if over.end is End.FINISHED and over.task is not None:
            moment = end_of(over.task)
            if moment is not None:
                self._metrics.detected(self.now() - moment)
            if self._governor is not None:
                self._governor.guess(Priority.READ, clock.CLOCK.steady())

    def _guess_submit(self, waiter: Wait) -> None:
        """Count the request that has started a run, which a worker has sent."""
        if self._governor is None or waiter.created is None:
            return
        if waiter.began - waiter.created < FRESH:
            self._governor.guess(Priority.SUBMIT, clock.CLOCK.steady())

    def _at(self, moment: float, act: Callable[[WaitRegistry, Wait], None], waiter: Wait) -> None:
        heapq.heappush(self._timers, (moment, next(self._number), act, waiter))
        if len(self._timers) > 4 * self.scheduler.waiting + 100:
            self._timers = [timer for timer in self._timers if not timer[3].gone]
            heapq.heapify(self._timers)

    def _due(self, waiter: Wait) -> None:
        """The deadline has come: the wait ends with the poll that follows, or without one."""
        self._late.add(waiter)
        self._at(self.now() + LATE, WaitRegistry._end_late, waiter)

    def _end_late(self, waiter: Wait) -> None:
        over = waiter.watch.without_news(self.now())
        if over is not None:
            self._finish(waiter, over)

    def _beat(self, waiter: Wait) -> None:
        owner, now, status = waiter.owner, self.now(), waiter.watch.status
        line = sign_of_life(
            waiter.watch.task_id,
            status.value if status else None,
            now - (waiter.created or waiter.began),
            self.scheduler.next_poll(waiter, now),
            owner.trouble,
        )
        owner.context.run(owner.log.info, "%s", line)
        self._at(waiter.began + next_sign(now - waiter.began), WaitRegistry._beat, waiter)
