"""The end of a run that is not waited for any more: late, or to be stopped because a person said so."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.runs.deferral import Wait
from airflow_provider_xpander.runs.log.status_log import recap
from airflow_provider_xpander.runs.task_errors import pause_reason, timed_out
from airflow_provider_xpander.runs.watch import STOP_PATIENCE, Over, Watch
from airflow_provider_xpander.telemetry import record_end

if TYPE_CHECKING:
    from airflow_provider_xpander.operators.attempt import Attempt


def end_late(attempt: Attempt, wait: Wait, over: Over) -> Task:
    """
    End the task of a run that did not end in time.

    :param attempt: the attempt at the run.
    :param wait: what was waited for.
    :param over: how the wait ended.
    :return: the run, if it completed before it could be stopped.
    :raises XpanderTaskTimeout: it did not.
    """
    before, status = over.task, over.status
    if before is None and status is TaskStatus.PAUSED:
        with suppress(XpanderError):  # only to say what it waited for
            before = attempt.hook.get_task(wait.task_id)

    def late(last: Task | None, stopped: bool | None) -> Exception:
        # As it was before it was stopped.
        seen = status or (last.status if last else None)
        waited_for = pause_reason(before) if before and seen is TaskStatus.PAUSED else None
        return timed_out(wait.task_id, seen, attempt.options.timeout, stopped, waited_for)

    return end_stopped(attempt, wait, late, stop=attempt.guard.on_timeout == "stop", seen=before)


def end_stopped(
    attempt: Attempt,
    wait: Wait,
    why: Callable[[Task | None, bool | None], Exception],
    *,
    stop: bool = True,
    seen: Task | None = None,
) -> Task:
    """
    End the task of a run that is not waited for any more: it is late, or a person wants it stopped.

    :param attempt: the attempt at the run.
    :param wait: what was waited for.
    :param why: makes the error of the run as seen last, and of whether it was stopped (None: not tried).
    :param stop: whether to stop the run.
    :param seen: the run as it was seen last, if it was.
    :return: the run, if it completed before it could be stopped.
    """
    watch = wait.watch(attempt.options.poll_interval, attempt.options.on_paused)
    stopped = None
    if stop:
        last = _stop_and_see(attempt, watch)
        stopped, seen = last is not None, last or seen
    attempt.state.handle()
    if seen is None:
        with suppress(XpanderError):
            seen = attempt.hook.get_task(wait.task_id)
    attempt.guard.check_turn(seen, wait.newer_than)
    if seen is not None:
        attempt.seen = seen
        ended = watch.has_ended(seen)
        if ended and seen.status is TaskStatus.COMPLETED:
            attempt.log.info("xpander task %s completed just before it was to be stopped", seen.id)
            return seen
        attempt.log.info("xpander task %s %s", seen.id, recap(seen))
        attempt.publish_summary(seen)
        if ended:
            invocation = attempt.options.invocation(seen)
            record_end(seen, attempt.ti, invocation, attempt.state.settings, attempt.log)
    raise why(seen, stopped)


def _stop_and_see(attempt: Attempt, watch: Watch) -> Task | None:
    """Stop the run, if possible, and see how it ends, for a moment: it may complete first."""
    stopped = attempt.guard.stop([watch.task_id])
    attempt.state.handle()
    if not stopped or watch.has_ended(stopped[0]):
        return stopped[0] if stopped else None
    end = Watch(watch.task_id, 1.0, time.time() + STOP_PATIENCE, newer_than=watch.newer_than)
    return attempt.hook.poll_until_done(end).task or stopped[0]
