"""
Stops of runs from the triggerer, and their queue.

A mass clear ends a thousand triggers at once, and the service takes a hundred requests a minute. So stops are
queued for each connection and sent as fast as its limits allow, before all polls (``api/governor.py``), by
tasks of their own that outlive the triggers, which Airflow gives a second or thirty.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from airflow_provider_xpander._compat import deferred_state
from airflow_provider_xpander.api import clock
from airflow_provider_xpander.api.errors import XpanderConnectionError
from airflow_provider_xpander.api.exchange import governed
from airflow_provider_xpander.api.governor import Governor
from airflow_provider_xpander.api.retry import RetryPolicy
from airflow_provider_xpander.api.routes import Priority
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.runs.stop_policy import Fate, OnKill, fate_after_cancel, not_stopped
from airflow_provider_xpander.runs.stopping import stop_run
from airflow_provider_xpander.triggers.shared_client import FRESH, SharedClient, shared_client
from airflow_provider_xpander.xcom import TASK_ID_KEY, WAVE_KEY

BUDGET = 3600.0
"""Seconds from the first try of a stop to the last: a run that goes on costs money, so be patient."""
PATIENCE = 60.0
"""Seconds that a trigger waits for its stop; behind that, and behind its end, the stop goes on."""
LATE = 10.0
"""Seconds in the queue after which a run is read first: it may be over, and its thread continued."""

_ON_ITS_WAY = ("scheduled", "queued", "running")
"""States of a task instance between its deferral and the next, or its end."""

_POLICY = RetryPolicy(attempts=1000, cap=30.0, patience=BUDGET)

_background: set[asyncio.Task[None]] = set()  # strong references: the event loop holds only weak ones


async def stop_unless_wanted(
    task_instance: Any,
    *,
    xpander_task_id: str,
    conn_id: str,
    action: OnKill,
    log: Any,
    link: str = "",
    taken_up: Callable[[], Awaitable[bool]] | None = None,
    digests: Collection[str] | None = None,
    newer_than: float | None = None,
) -> None:
    """
    Stop a run whose trigger is cancelled, unless its task instance is still deferred on this very run.

    Goes on in the background when the caller is cancelled meanwhile.

    :param task_instance: that of the trigger; None if the trigger does not run in Airflow.
    :param xpander_task_id: the run.
    :param conn_id: id of the Airflow connection.
    :param action: what the author wants; ``leave`` only says so.
    :param log: where to say what was done.
    :param link: where a person finds the run, if it is left.
    :param taken_up: tells of a task instance that waits for a worker, or has one, whether it goes on with the
        run, rather than that it was cleared; without it, none does.
    :param digests: marks that the turn to stop may carry; None if they are not known.
    :param newer_than: Unix seconds; an end as old as that is of an earlier turn of the thread.
    """
    if task_instance is None:
        return
    if action == "leave":
        log.info(
            "The wait for xpander task %s ends; the run goes on, as it was asked to%s",
            xpander_task_id,
            f": {link}" if link else "",
        )
        return
    stop = partial(_queue(conn_id).stop, xpander_task_id, log, digests=digests, newer_than=newer_than)

    async def wanted() -> bool:
        state, current = await deferred_state(task_instance, TASK_ID_KEY)
        return current == xpander_task_id and (
            state == "deferred" or (state in _ON_ITS_WAY and taken_up is not None and await taken_up())
        )

    await _in_background(_stop_unless(wanted, f"xpander task {xpander_task_id}", action, log, [stop]))


async def stop_wave_unless_wanted(
    task_instance: Any, *, wave: str, runs: Collection[str], conn_id: str, action: OnKill, log: Any
) -> None:
    """
    Stop the runs of a wave whose trigger is cancelled, unless its task instance is still deferred on it.

    Goes on in the background when the caller is cancelled meanwhile.

    :param task_instance: that of the trigger; None if the trigger does not run in Airflow.
    :param wave: what XCom has of the wave that the task instance is deferred on.
    :param runs: the runs.
    :param conn_id: id of the Airflow connection.
    :param action: what the author wants; ``leave`` only says so.
    :param log: where to say what was done.
    """
    if task_instance is None or not runs:
        return
    if action == "leave":
        log.info("The wait for %d runs ends; they go on, as they were asked to", len(runs))
        return

    async def wanted() -> bool:
        state, current = await deferred_state(task_instance, WAVE_KEY)
        return current == wave and state == "deferred"

    stops = [partial(_queue(conn_id).stop, task_id, log) for task_id in runs]
    await _in_background(_stop_unless(wanted, f"the wave of {len(runs)} runs", action, log, stops))


async def _in_background(stopping: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(stopping)
    _background.add(task)
    task.add_done_callback(_background.discard)
    await asyncio.wait({task}, timeout=PATIENCE)


async def _stop_unless(
    is_wanted: Callable[[], Awaitable[bool]],
    what: str,
    action: OnKill,
    log: Any,
    stops: Sequence[Callable[[], Awaitable[None]]],
) -> None:
    wanted: bool | None = None
    try:
        wanted = await is_wanted()
    except Exception as error:  # whatever the look-up dies of, the decision is the same
        log.warning(
            "Whether %s is still wanted could not be found out, so it is left running: %s", what, error
        )
    if fate_after_cancel(deferred_on_this=wanted, action=action) is Fate.STOP:
        await asyncio.gather(*(stop() for stop in stops))
    elif wanted:
        log.info("%s is left running: its Airflow task still waits for it", what)


@dataclass
class StopQueue:
    """
    The stops of one connection, none sent before the limits allow it.

    :param conn_id: id of the Airflow connection.
    """

    conn_id: str
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _waiting: int = 0

    async def stop(
        self,
        task_id: str,
        log: Any,
        *,
        digests: Collection[str] | None = None,
        newer_than: float | None = None,
    ) -> None:
        """
        Stop a run when its turn comes, and say what came of it; nothing is raised.

        :param task_id: the run.
        :param log: where to say it.
        :param digests: marks that the turn to stop may carry; None if they are not known.
        :param newer_than: Unix seconds; an end as old as that is of an earlier turn of the thread.
        """
        if self._waiting:
            log.info("The stop of xpander task %s is queued behind %d others", task_id, self._waiting)
        self._waiting += 1
        settings: Settings | None = None
        problem: object = "the triggerer ended first"
        decided_at = clock.CLOCK.steady()
        try:
            async with shared_client(self.conn_id) as client:
                await self._open(client, task_id, log)
                settings, governor = client.settings, client.governor
                counted = await self._take_turn(governor, decided_at, shared=digests is not None)
                # From here the request is on its way; others need not wait for its reply.
                steps = stop_run(
                    task_id,
                    _POLICY,
                    digests=digests,
                    newer_than=newer_than,
                    look_first=counted > 1,
                    budget=BUDGET,
                    clock=clock.CLOCK.steady,
                )
                stopped = await client.run(governed(steps, governor, patience=BUDGET, counted=counted))
            problem = None
            log.info("%s", stopped)
        except Exception as error:  # of the service or of the connection: a person has to see to it
            problem = error
        finally:
            self._waiting -= 1
            if problem is not None:
                log.error("%s", not_stopped(task_id, settings, problem))

    async def _open(self, client: SharedClient, task_id: str, log: Any) -> None:
        """Read the connection; where it never could be read, as often as a stop is sent."""
        attempt, give_up_at = 0, clock.CLOCK.steady() + BUDGET
        while True:
            attempt += 1
            try:
                return await client.refresh(FRESH)
            except XpanderConnectionError as error:
                delay = _POLICY.delay(attempt, None)
                if delay is None or clock.CLOCK.steady() + delay > give_up_at:
                    raise
                if attempt == 1:
                    log.warning("The stop of xpander task %s has to wait. %s", task_id, error)
            await asyncio.sleep(clock.CLOCK.real(delay))

    async def _take_turn(self, governor: Governor, decided_at: float, *, shared: bool) -> int:
        """Wait until a stop may be sent; return for how many requests there is room: two to read first."""
        governor.pressing += 1
        try:
            async with self._turn:
                await _wait_for_room(governor)
                if not shared and clock.CLOCK.steady() - decided_at <= LATE:
                    return 1
                # The run is read first, and the stop has to follow that at once.
                await _wait_for_room(governor)
                return 2
        finally:
            governor.pressing -= 1


async def _wait_for_room(governor: Governor) -> None:
    while True:
        delay = governor.delay(Priority.STOP, clock.CLOCK.steady())
        if delay <= 0:
            break
        await asyncio.sleep(clock.CLOCK.real(delay))
    governor.sent(Priority.STOP, clock.CLOCK.steady())


_queues: dict[tuple[asyncio.AbstractEventLoop, str], StopQueue] = {}


def _queue(conn_id: str) -> StopQueue:
    key = (asyncio.get_running_loop(), conn_id)
    for old in [old for old in _queues if old[0].is_closed()]:
        del _queues[old]
    return _queues.setdefault(key, StopQueue(conn_id))
