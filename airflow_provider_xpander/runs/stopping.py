"""
The stop of a run: what to send, and what became of the run where the service's reply leaves that open.

A stop may meet a run that is over already, a service that replies with an error or with something odd, and a
thread that somebody else has continued meanwhile. In all of these only the task itself tells what is so.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from airflow_provider_xpander.api.errors import XpanderError, XpanderServiceError
from airflow_provider_xpander.api.exchange import Sleep, Steps, exchange, may_repeat
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.retry import ONCE, RetryPolicy
from airflow_provider_xpander.api.routes import Priority, as_poll, get_task, stop_task
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.runs.thread import is_foreign_turn
from airflow_provider_xpander.runs.watch import Watch


@dataclass(frozen=True)
class Stopped:
    """
    What became of a run that was to be stopped.

    :param task: the task as last seen.
    :param is_foreign: whether it shows a turn of somebody else, who has continued the thread; that goes on.
    """

    task: Task
    is_foreign: bool = False

    def __str__(self) -> str:
        status = self.task.status
        if self.is_foreign:
            return f"xpander task {self.task.id} is not stopped: somebody else has continued its thread"
        if status.is_terminal and status is not TaskStatus.STOPPED:
            return f"xpander task {self.task.id} had ended ({status.value}) before it was stopped"
        return f"Stopped xpander task {self.task.id} ({status.value})"


def stop_run(
    task_id: str,
    policy: RetryPolicy,
    *,
    digests: Collection[str] | None = None,
    newer_than: float | None = None,
    look_first: bool = False,
    budget: float = float("inf"),
    clock: Callable[[], float] = time.monotonic,
    rng: Callable[[], float] = random.random,
) -> Steps[Stopped]:
    """
    Stop a run, repeatedly if need be, and tell what became of it.

    :param task_id: the run.
    :param policy: how often and how fast a stop is repeated.
    :param digests: marks that the turn to stop may carry, where somebody else may have continued its thread:
        then the thread is read before each stop, and what cannot be read is not stopped.
    :param newer_than: Unix seconds; an end as old as that is of an earlier turn of the thread.
    :param look_first: whether the run may be over since the stop was decided.
    :param budget: seconds from now after which it is not repeated.
    :param clock: gives seconds.
    :param rng: gives a float in [0, 1) for the jitter.
    :raises XpanderError: it could not be stopped, and goes on as far as is known.
    """
    began, attempt = clock(), 0
    while True:
        attempt += 1
        try:
            found = None
            if digests is not None:
                found = yield from _over(task_id, digests, newer_than)
            elif look_first:
                found = yield from _over_if_known(task_id, digests, newer_than)
            if found:
                return found
            stopped = yield from exchange(stop_task(task_id), ONCE)
            if stopped.id.casefold() == task_id.casefold():
                return Stopped(stopped)
            raise XpanderServiceError(
                f"stop task {task_id}: the answer is about {printable(stopped.id, 100)}", status_code=200
            )
        except XpanderError as error:
            problem = error
        delay = None
        if may_repeat(stop_task(task_id).retry, problem) or problem.status_code == 409:
            delay = policy.delay(attempt, getattr(problem, "retry_after", None), rng)
        if delay is not None and clock() + delay - began > budget:
            delay = None
        if delay is None or _is_odd(problem):
            if found := (yield from _over_if_known(task_id, digests, newer_than)):
                return found
            if delay is None:
                raise problem
        yield Sleep(delay)
        look_first = True


def _is_odd(error: XpanderError) -> bool:
    """Whether a reply may mean that the run is over: a conflict, or a success that is not this task."""
    status = error.status_code or 0
    return status == 409 or (isinstance(error, XpanderServiceError) and 200 <= status < 300)


def _over(task_id: str, digests: Collection[str] | None, newer_than: float | None) -> Steps[Stopped | None]:
    """Read the task; None if it shows the run that is meant, and that goes on."""
    task = yield from exchange(as_poll(get_task(task_id), Priority.STOP), ONCE)
    if digests is not None and is_foreign_turn(task, digests, newer_than):
        return Stopped(task, is_foreign=True)
    return Stopped(task) if Watch(task_id, newer_than=newer_than).has_ended(task) else None


def _over_if_known(
    task_id: str, digests: Collection[str] | None, newer_than: float | None
) -> Steps[Stopped | None]:
    """Read the task; None also if it cannot be read."""
    try:
        return (yield from _over(task_id, digests, newer_than))
    except XpanderError:
        return None
