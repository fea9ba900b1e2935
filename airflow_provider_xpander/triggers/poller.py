"""
The poller: one loop per event loop and connection that polls for all triggers which wait there.

It runs as long as somebody waits. What it asks next is decided in ``runs/polling/``, what may be sent in
``api/governor.py``, what a task means for a wait in ``runs/watch.py``.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from airflow_provider_xpander.api import clock
from airflow_provider_xpander.api.errors import XpanderConnectionError, XpanderError
from airflow_provider_xpander.api.exchange import exchange, governed
from airflow_provider_xpander.api.governor import Governor
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.retry import ONCE
from airflow_provider_xpander.api.routes import Call, Priority, RawPage, as_poll, get_task, poll_tasks
from airflow_provider_xpander.runs.polling.waiters import Action, ReadTask
from airflow_provider_xpander.runs.watch import Over, Watch
from airflow_provider_xpander.telemetry import WaitMetrics
from airflow_provider_xpander.triggers.shared_client import FRESH, RECHECK, SharedClient, shared_client
from airflow_provider_xpander.triggers.wait_registry import Owner, Report, WaitRegistry

CONCURRENCY = 8
"""Requests under way at a time; each may need a connection."""
LONGEST_NAP = 15.0
"""Real seconds after which the poller looks around although nothing is due."""
READ_AGAIN = 2.0
"""Real seconds to the next try to read a connection that cannot be read; doubled for each further one."""


async def wait_for(
    conn_id: str,
    watch: Watch,
    *,
    agent_id: str | None,
    created: float | None,
    report: Report,
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
    :raises ValueError: the connection has a wrong value.
    """
    loop = asyncio.get_running_loop()
    for key in [key for key in _pollers if key[0].is_closed()]:
        del _pollers[key]
    poller = _pollers.setdefault((loop, conn_id), Poller(conn_id))
    waiter = poller.waits.add(watch, agent_id=agent_id, created=created, report=report, log=log)
    over = waiter.owner.over
    poller.wake()
    try:
        return await over
    finally:
        poller.waits.remove(waiter)
        if not poller.waits.scheduler.waiting:
            poller.retire()
            await asyncio.shield(poller.close())


class Poller:
    """
    Polls the runs of one connection until nobody waits.

    :param conn_id: id of the Airflow connection.
    """

    def __init__(self, conn_id: str) -> None:
        self.conn_id = conn_id
        self.metrics = WaitMetrics(conn_id)
        self.waits = WaitRegistry(self.metrics)
        self._running: asyncio.Task[None] | None = None
        self._requests: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._refreshing: asyncio.Task[None] | None = None
        self._has_new_wait = False

    def wake(self) -> None:
        """Send at once what is due, a new wait above all."""
        self._has_new_wait = True
        if self._running is None or self._running.done():
            # In no trigger's context: what is logged here belongs to none of them.
            self._running = asyncio.create_task(self._run(), context=contextvars.Context())
        self._woken.set()

    def retire(self) -> None:
        """Take in no more waits: whoever comes from now on gets another poller."""
        for key in [key for key, poller in _pollers.items() if poller is self]:
            del _pollers[key]

    async def close(self) -> None:
        """End the poller, its requests and its use of the client."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    async def _run(self) -> None:
        try:
            await asyncio.to_thread(self.metrics.open)
            async with shared_client(self.conn_id) as client, self._requests_ended():
                await self._open(client)
                while True:
                    self._woken.clear()
                    self.metrics.waiters(self.waits.scheduler.waiting)
                    self._notice_edits(client)
                    await self._nap(clock.CLOCK.real(self._send_what_is_due(client)))
        except Exception as error:  # whatever it is, nobody may wait for ever
            self.retire()
            self.waits.fail_all(error)
        finally:
            self.waits.shut()
            self.metrics.waiters(0)

    @asynccontextmanager
    async def _requests_ended(self) -> AsyncIterator[None]:
        """See that nothing is under way any more when the client closes."""
        try:
            yield
        finally:
            requests = [*self._requests, *filter(None, [self._refreshing])]
            for request in requests:
                request.cancel()
            await asyncio.gather(*requests, return_exceptions=True)

    async def _nap(self, seconds: float) -> None:
        """Wait for so many real seconds, or until there is something to do."""
        with suppress(TimeoutError):
            async with asyncio.timeout(min(max(seconds, 0.0), LONGEST_NAP)):
                await self._woken.wait()

    async def _open(self, client: SharedClient) -> None:
        """Open the client. That its connection cannot be read is waited out like an outage of the service."""
        pause = READ_AGAIN
        while not client.is_open:
            try:
                await client.refresh(FRESH)
            except XpanderConnectionError as error:
                self.waits.note_outage(error)
                self._woken.clear()
                rest = clock.CLOCK.real(self.waits.run_timers(self.waits.now()))
                await self._nap(min(pause, rest))
                pause = min(2 * pause, LONGEST_NAP)

    def _notice_edits(self, client: SharedClient) -> None:
        """Read the connection again if that was long ago, or if a new wait may rely on an edit."""
        if self._refreshing is not None:
            return  # what is being read may be older than the edit; its end comes back here
        if client.age >= (FRESH if self._has_new_wait else RECHECK):
            self._refreshing = asyncio.create_task(client.refresh())
            self._refreshing.add_done_callback(self._refreshed)
        self._has_new_wait = False

    def _refreshed(self, _: asyncio.Task[None]) -> None:
        self._refreshing = None
        self._woken.set()

    def _send_what_is_due(self, client: SharedClient) -> float:
        """Send what may be sent; return the seconds after which there may be more to do."""
        scheduler, now, governor = self.waits.scheduler, self.waits.now(), client.governor
        self.waits.use(client.settings, governor)
        rest = self.waits.run_timers(now)
        while scheduler.in_flight < CONCURRENCY:
            delay = governor.delay(Priority.POLL, clock.CLOCK.steady())
            if delay > 0:
                return min(delay, rest)
            action = scheduler.next_action(now, governor.has_spare(clock.CLOCK.steady()))
            if action is None:
                return min(scheduler.pause(now), rest)
            governor.sent(action.priority, clock.CLOCK.steady())
            request = asyncio.create_task(self._ask(client, governor, action))
            self._requests.add(request)
            request.add_done_callback(self._requests.discard)
        return rest

    async def _ask(self, client: SharedClient, governor: Governor, action: Action[Owner]) -> None:
        result: Task | RawPage | XpanderError
        try:
            try:
                result = await self._call(client, governor, action)
            except XpanderError as error:
                result = error
            except asyncio.CancelledError:
                self.waits.scheduler.end_request(action)
                raise
            self.waits.take(action, result)
        except Exception as error:
            self.waits.fail_all(error)
        finally:
            self._woken.set()

    async def _call(self, client: SharedClient, governor: Governor, action: Action[Owner]) -> Task | RawPage:
        call: Call[Any]
        if isinstance(action, ReadTask):
            self.metrics.poll()
            call = as_poll(get_task(action.waiter.watch.task_id), action.priority)
        else:
            self.metrics.list_page()
            since = datetime.fromtimestamp(max(0.0, action.from_date), UTC)
            agent_id = action.agent.id or ""
            call = poll_tasks(agent_id, from_date=since, page=action.number, status=action.status)
        steps = governed(exchange(call, ONCE), governor, counted=1)
        return await client.run(steps)


_pollers: dict[tuple[asyncio.AbstractEventLoop, str], Poller] = {}
