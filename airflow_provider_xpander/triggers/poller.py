"""
One poller per event loop and connection: triggers tell it what they wait for, and it looks for all of them.

It lives as long as somebody waits. What it asks next is decided in ``runs/plan.py``, what an answer means for
a wait in ``runs/watch.py``, what may be sent in ``api/governor.py``; here is the loop that does it.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from airflow_provider_xpander.api import clock
from airflow_provider_xpander.api.aclient import AsyncClient
from airflow_provider_xpander.api.errors import (
    XpanderAuthError,
    XpanderConnectionError,
    XpanderError,
    XpanderRateLimitError,
    XpanderServiceError,
    printable,
)
from airflow_provider_xpander.api.exchange import exchange
from airflow_provider_xpander.api.governor import Governor, governed, governor_of, listening
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.retry import ONCE
from airflow_provider_xpander.api.routes import Call, Priority, RawPage, as_poll, get_task, poll_tasks
from airflow_provider_xpander.api.status import TaskStatus, normalize_status
from airflow_provider_xpander.runs.heartbeat import Heartbeat, sign_of_life
from airflow_provider_xpander.runs.listing import Row, row_of
from airflow_provider_xpander.runs.plan import Plan
from airflow_provider_xpander.runs.waiting import Action, Agent, Look, ReadPage, Waiter
from airflow_provider_xpander.runs.watch import Again, End, Over, Watch
from airflow_provider_xpander.triggers.metrics import Metrics
from airflow_provider_xpander.triggers.shared_client import shared_client

CONCURRENCY = 8
"""Requests under way at a time; each may need a connection."""
LATE = 5.0
"""Seconds behind its deadline at which a wait ends also if no last look was possible."""
FRESH = 120.0
"""Seconds for which a run is young enough that its submit surely counts in the present hour."""


@dataclass(slots=True, eq=False)
class _Tag:
    """What the poller keeps with a wait; the context is that of the trigger, whose log it leads to."""

    over: asyncio.Future[Over]
    context: contextvars.Context
    report: Callable[[Task], None]
    log: Any
    beat: Heartbeat
    trouble: str | None = None


async def wait_for(
    conn_id: str,
    watch: Watch,
    *,
    agent_id: str | None,
    created: float | None,
    report: Callable[[Task], None],
    log: Any,
) -> Over:
    """
    Wait until the watch is over.

    :param conn_id: id of the Airflow connection.
    :param watch: the wait.
    :param agent_id: of the agent or workflow, if known.
    :param created: Unix seconds at which the run was created, if known.
    :param report: is given the task whenever something new is known about it.
    :param log: where signs of life go.
    :raises AirflowNotFoundException: there is no such connection, or not any more.
    :raises ValueError: the connection has a wrong value.
    """
    loop = asyncio.get_running_loop()
    for key in [key for key in _pollers if key[0].is_closed()]:
        del _pollers[key]
    poller = _pollers.get((loop, conn_id))
    if poller is None:
        poller = _pollers[loop, conn_id] = Poller(conn_id)
    return await poller.wait(watch, agent_id, created, report, log)


class Poller:
    """
    Looks at the runs of one connection until nobody waits.

    :param conn_id: id of the Airflow connection.
    """

    def __init__(self, conn_id: str) -> None:
        self.conn_id = conn_id
        self.plan = Plan()
        self.metrics = Metrics(conn_id)
        self._offset = clock.CLOCK.time() - clock.CLOCK.steady()
        self._client: AsyncClient | None = None
        self._governor: Governor | None = None
        self._loop: asyncio.Task[None] | None = None
        self._requests: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._refreshing = asyncio.Lock()
        self._failing_since = 0.0
        self._timers: list[tuple[float, int, Callable[[Waiter], None], Waiter]] = []
        self._late: set[Waiter] = set()
        self._number = itertools.count()

    def now(self) -> float:
        """Return Unix seconds that never jump."""
        return self._offset + clock.CLOCK.steady()

    async def wait(
        self,
        watch: Watch,
        agent_id: str | None,
        created: float | None,
        report: Callable[[Task], None],
        log: Any,
    ) -> Over:
        """Take a wait in until it is over; see :func:`wait_for`."""
        now = self.now()
        future: asyncio.Future[Over] = asyncio.get_running_loop().create_future()
        tag = _Tag(future, contextvars.copy_context(), report, log, Heartbeat(now))
        waiter = Waiter(watch, agent_id, created, now, tag)
        self.plan.add(waiter, now)
        self._at(tag.beat.first, self._beat, waiter)
        if watch.deadline is not None:
            self._at(watch.deadline, self._due, waiter)
        if self._loop is None or self._loop.done():
            # In no trigger's context: what is logged here belongs to none of them.
            self._loop = asyncio.create_task(self._run(), context=contextvars.Context())
        self._guess_submit(waiter)
        self.metrics.waiters(self.plan.waiting)
        self._wake.set()
        try:
            return await future
        finally:
            self._forget(waiter)
            waiter.tag = None
            if not self.plan.waiting:
                await asyncio.shield(self._close())

    async def _close(self) -> None:
        loop, self._loop = self._loop, None
        for key in [key for key, poller in _pollers.items() if poller is self]:
            del _pollers[key]
        if loop is not None:
            loop.cancel()
            with suppress(asyncio.CancelledError):
                await loop

    async def _run(self) -> None:
        try:
            async with shared_client(self.conn_id) as client:
                self._client, self._governor = client, governor_of(client.settings)
                for waiter in self.plan.waiters:
                    self._guess_submit(waiter)
                while True:
                    self._wake.clear()
                    pause = clock.CLOCK.real(self._start_what_is_due(client, self._governor))
                    if pause > 0:
                        with suppress(TimeoutError):
                            async with asyncio.timeout(min(pause, 3600.0)):
                                await self._wake.wait()
                    else:
                        await asyncio.sleep(0)
        except Exception as error:  # whatever it is, nobody may wait for ever
            self._fail(error)
        finally:
            self._client = self._governor = None
            requests = list(self._requests)
            for request in requests:
                request.cancel()
            await asyncio.gather(*requests, return_exceptions=True)

    def _start_what_is_due(self, client: AsyncClient, governor: Governor) -> float:
        """Send what may be sent; return the seconds after which there may be more to do."""
        now = self.now()
        self._run_timers(now)
        rest = max(0.0, self._timers[0][0] - now) if self._timers else float("inf")
        while self.plan.flying < CONCURRENCY:
            delay = governor.delay(Priority.POLL, clock.CLOCK.steady())
            if delay > 0:
                return min(delay, rest)
            action = self.plan.next(now, governor.has_spare(clock.CLOCK.steady()))
            if action is None:
                return min(self.plan.pause(now), rest) if not self._is_full() else rest
            governor.sent(action.priority, clock.CLOCK.steady())
            request = asyncio.create_task(self._ask(client, governor, action))
            self._requests.add(request)
            request.add_done_callback(self._requests.discard)
        return rest

    def _is_full(self) -> bool:
        """Whether nothing can be sent before a request under way has ended."""
        return self.plan.flying > 0 and self.plan.in_outage

    async def _ask(self, client: AsyncClient, governor: Governor, action: Action) -> None:
        answer: Task | RawPage | XpanderError
        try:
            try:
                answer = await self._call(client, governor, action)
            except XpanderError as error:
                answer = error
            finally:
                self.plan.landed(action)
            if isinstance(answer, XpanderError):
                self._on_error(action, answer)
            elif isinstance(action, Look) and isinstance(answer, Task):
                self._answered(action)
                self._on_task(action.waiter, answer)
            elif isinstance(action, ReadPage) and isinstance(answer, RawPage):
                self._answered(action)
                self._on_page(action.agent, answer)
        except Exception as error:
            self._fail(error)
        finally:
            self._wake.set()

    async def _call(self, client: AsyncClient, governor: Governor, action: Action) -> Task | RawPage:
        call: Call[Any]
        if isinstance(action, Look):
            self.metrics.poll()
            call = as_poll(get_task(action.waiter.watch.task_id), action.priority)
        else:
            self.metrics.list_page()
            since = datetime.fromtimestamp(max(0.0, action.from_date), UTC)
            call = poll_tasks(action.agent.id or "", from_date=since, page=action.number)
        settings = client.settings
        try:
            return await client.run(listening(exchange(call, ONCE), governor))  # type: ignore[no-any-return]
        except XpanderAuthError as error:
            if error.status_code != 401:
                raise
        # The key may have been changed in the connection since it was read: once more, with the new one.
        async with self._refreshing:
            if client.settings is settings:
                await client.refresh()
        return await client.run(governed(exchange(call, ONCE), governor))  # type: ignore[no-any-return]

    def _on_task(self, waiter: Waiter, task: Task) -> None:
        if waiter.gone:
            return
        updated = task.updated_at.timestamp() if task.updated_at else waiter.last[1] if waiter.last else None
        waiter.last = (task.raw_status, updated)
        again = self._news(waiter, task)
        if again is None:
            return
        if waiter.agent_id is None and task.agent_id is not None:
            self.plan.move(waiter, task.agent_id, task.created_at and task.created_at.timestamp(), self.now())
        else:
            self.plan.looked(waiter, again.seconds, self.now())

    def _on_page(self, agent: Agent, page: RawPage) -> None:
        news = self.plan.took_page(agent, [row_of(item) for item in page.items], page.total_pages, self.now())
        for waiter, row in news:
            self._on_row(waiter, row)
        if not agent.listing.is_walking:
            for waiter in [waiter for waiter in self._late if waiter.agent_id == agent.id]:
                if agent.is_listed(waiter):
                    self._end_late(waiter)

    def _on_row(self, waiter: Waiter, row: Row) -> None:
        status = normalize_status(row.status)
        seen = waiter.watch.seen
        if waiter.is_own:
            if status.is_terminal:
                self.plan.hurry([waiter], self.now())  # of which turn it is, only the task tells
        elif status is TaskStatus.PAUSED and (seen is None or seen.status is not status):
            self.plan.hurry([waiter], self.now())  # why, and whether still, only the task tells
        elif seen is None or seen.status is not status or status.is_terminal:
            with suppress(ValidationError):
                self._news(waiter, Task.model_validate(row.item))

    def _news(self, waiter: Waiter, task: Task) -> Again | None:
        tag: _Tag = waiter.tag
        tag.trouble = None
        tag.context.run(tag.report, task)
        verdict = waiter.watch.after_task(task, self.now())
        if isinstance(verdict, Again):
            return verdict
        self._finish(waiter, verdict)
        return None

    def _on_error(self, action: Action, error: XpanderError) -> None:
        now = self.now()
        if isinstance(error, XpanderRateLimitError):
            self.metrics.throttled()
            self.plan.put_back(action)
            return
        if isinstance(error, XpanderAuthError) and error.status_code == 401:
            # The new key is refused too, whatever it is asked for.
            for waiter in self.plan.waiters:
                self._finish(waiter, Over(End.ERROR, waiter.watch.seen, error))
            return
        unreachable = isinstance(error, XpanderConnectionError | XpanderServiceError)
        if unreachable:
            self._failed(action, error, now)
        else:
            self._answered(action)
        if isinstance(action, ReadPage):
            self.plan.page_failed(action.agent, useless=not unreachable, now=now)
            return
        waiter = action.waiter
        if waiter.gone:
            return
        verdict = waiter.watch.after_error(error, now)
        if isinstance(verdict, Over):
            self._finish(waiter, verdict)
            return
        tag: _Tag = waiter.tag
        if tag.trouble is None:
            tag.context.run(tag.log.warning, "%s The wait goes on.", error)
        tag.trouble = printable(error, 200)
        self.plan.looked(waiter, verdict.seconds, now)

    def _answered(self, action: Action) -> None:
        self.plan.answered(action, self.now())

    def _failed(self, action: Action, error: XpanderError, now: float) -> None:
        if not self.plan.failures:
            self._failing_since = now
        longest = action.waiter.watch.poll_interval if isinstance(action, Look) else action.agent.slowest
        if not self.plan.failed(longest, now):
            return
        trouble = printable(error, 200)
        for waiter in self.plan.waiters:
            waiter.tag.trouble = trouble
            over = waiter.watch.in_outage(error, self._failing_since, now)
            if over is not None:
                self._finish(waiter, over)

    def _finish(self, waiter: Waiter, over: Over) -> None:
        tag: _Tag = waiter.tag
        self._forget(waiter)
        if tag.over.done():
            return
        tag.over.set_result(over)
        if over.end is End.FINISHED and over.task is not None:
            ended = over.task.finished_at or over.task.updated_at
            if ended is not None:
                self.metrics.detected(self.now() - ended.timestamp())
            if self._governor is not None:
                self._governor.guess(Priority.READ, clock.CLOCK.steady())

    def _forget(self, waiter: Waiter) -> None:
        if not waiter.gone:
            self.plan.remove(waiter, self.now())
            self._late.discard(waiter)
            self.metrics.waiters(self.plan.waiting)

    def _fail(self, error: Exception) -> None:
        for waiter in self.plan.waiters:
            if not waiter.tag.over.done():
                waiter.tag.over.set_exception(error)

    def _guess_submit(self, waiter: Waiter) -> None:
        """Count the request that has started a run, which a worker has sent."""
        if (
            self._governor is not None
            and waiter.created is not None
            and waiter.began - waiter.created < FRESH
        ):
            self._governor.guess(Priority.SUBMIT, clock.CLOCK.steady())

    # Timers: deadlines and signs of life.

    def _at(self, moment: float, act: Callable[[Waiter], None], waiter: Waiter) -> None:
        heapq.heappush(self._timers, (moment, next(self._number), act, waiter))
        if len(self._timers) > 4 * self.plan.waiting + 100:
            self._timers = [timer for timer in self._timers if not timer[3].gone]
            heapq.heapify(self._timers)

    def _run_timers(self, now: float) -> None:
        due: list[Waiter] = []
        while self._timers and self._timers[0][0] <= now:
            _, _, act, waiter = heapq.heappop(self._timers)
            if waiter.gone:
                continue
            if act == self._due:
                due.append(waiter)
            act(waiter)
        self.plan.hurry(due, now, by_list=True)

    def _due(self, waiter: Waiter) -> None:
        """Have a last look when the deadline has come."""
        self._late.add(waiter)
        self._at(self.now() + LATE, self._end_late, waiter)

    def _end_late(self, waiter: Waiter) -> None:
        over = waiter.watch.without_news(self.now())
        if over is not None and not waiter.gone:
            self._finish(waiter, over)

    def _beat(self, waiter: Waiter) -> None:
        tag, now = waiter.tag, self.now()
        seen = waiter.watch.seen
        line = sign_of_life(
            waiter.watch.task_id,
            seen.status.value if seen else None,
            now - (waiter.created or waiter.began),
            self.plan.next_look(waiter, now),
            tag.trouble,
        )
        tag.context.run(tag.log.info, "%s", line)
        self._at(tag.beat.next(now), self._beat, waiter)


_pollers: dict[tuple[asyncio.AbstractEventLoop, str], Poller] = {}
