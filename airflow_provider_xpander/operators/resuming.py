"""The end of a wait in the triggerer, as the worker that resumes takes it up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.api.status import normalize_status
from airflow_provider_xpander.runs.deferral import Wait, WaitEvent
from airflow_provider_xpander.runs.log.status_log import recap
from airflow_provider_xpander.runs.watch import RESUME_INTERVAL, RESUME_PATIENCE, End, Over, Watch

if TYPE_CHECKING:
    from airflow_provider_xpander.operators.attempt import Attempt


def resume(attempt: Attempt, wait: Wait, event: WaitEvent) -> Over:
    """
    Read the run that the trigger has seen end, pause or fail.

    :param attempt: the attempt at the run.
    :param wait: what was waited for.
    :param event: what the trigger found.
    :return: the end of the wait, with the run as it is now.
    :raises XpanderError: the run cannot be read, or the trigger could not, and the run goes on.
    :raises TaskDeferred: the service is away for the moment.
    """
    attempt.guard.check_thread(wait.task_id, wait.newer_than)
    resume_deadline = time.time() + RESUME_PATIENCE
    watch = Watch(wait.task_id, RESUME_INTERVAL, resume_deadline, attempt.options.on_paused, wait.newer_than)
    over = Over(event.end, seen=normalize_status(event.status) if event.status else None)
    if event.end is End.ERROR:
        failed = f"The wait for xpander task {wait.task_id} failed: {event.message}"
        attempt.log.warning(failed)
        # Tells whether a retry makes sense, or that the run has ended.
        task = attempt.hook.get_task_patiently(wait.task_id)
        if not watch.has_ended(task):
            raise XpanderError(failed)
        over = Over(End.FINISHED, task)
    elif event.end is End.FINISHED:
        over = Over(End.FINISHED, attempt.hook.poll_until_done(watch).fetched(wait.task_id))
    elif event.end is End.PAUSED:
        task = attempt.get_task_or_defer(wait)
        over = Over(End.FINISHED if watch.has_ended(task) else End.PAUSED, task)
    if over.task is not None:
        attempt.log.info("While deferred: xpander task %s %s", wait.task_id, recap(over.task))
    return over
