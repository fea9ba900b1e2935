"""Stops of runs from the worker, and the word to a person where a stop fails."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.api.exchange import TooLong
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.runs.stop_policy import not_stopped
from airflow_provider_xpander.runs.stopping import Stopped, stop_run

if TYPE_CHECKING:
    from airflow_provider_xpander.api.client import Client
    from airflow_provider_xpander.hooks.xpander import XpanderHook
    from airflow_provider_xpander.operators.run_guard import KillState

KILL_TIMEOUT = 3.5
"""Seconds for a stop on a kill: Airflow waits five before it ends the process."""
LOG_TIMEOUT = 0.5
"""Seconds for the lines that say what came of it."""
KILL_LAG = (0.0, 1.0, 1.0)
"""Seconds before each look for a run that is being started at that moment."""


def stop_runs(
    hook: XpanderHook,
    log: Any,
    task_ids: Iterable[str],
    *,
    digests: Collection[str] | None = None,
    newer_than: float | None = None,
) -> list[Task]:
    """
    Stop runs, with a few tries each.

    :param hook: where to stop them.
    :param log: where to say what was done.
    :param task_ids: the runs.
    :param digests: marks of the turn that is meant, where somebody else may have continued its thread.
    :param newer_than: Unix seconds at which the turn before that one ended, if there was one.
    :return: the runs as they are then; those that could not be stopped are missing, and in the log.
    :raises TooLong: the worker may not wait until the rest can be stopped.
    """
    stopped = []
    for task_id in task_ids:
        settings = None
        try:
            settings = hook.settings
            steps = stop_run(task_id, hook.get_conn().policy, digests=digests, newer_than=newer_than)
            found = hook.run(steps)  # as it is then: it may have completed before
        except TooLong:
            raise  # it is stopped later
        except Exception as error:  # the connection may be gone too; the failure that led here counts more
            log.error("%s", not_stopped(task_id, settings, error))
            continue
        log.info("%s", found)
        if not found.is_foreign:
            stopped.append(found.task)
    return stopped


@dataclass
class _Progress:
    """How far a stop has come when its time is up."""

    found: list[str] = field(default_factory=list)
    done: list[Stopped] = field(default_factory=list)
    error: XpanderError | None = None


def stop_quickly(state: KillState, log: Any, *, digests: Collection[str] | None = None) -> bool:
    """
    Stop a run on a kill, over a client of its own, and be done in time whatever the network does.

    One call stops a run whose id is known; one that is being started is looked for first, and a thread that
    somebody else may have continued is read first. The log is written from another thread: the kill may have
    come in the middle of a line, which holds the log's lock.

    :param state: what is known of the run, and how it is looked for.
    :param log: where to say what was done.
    :param digests: marks of the turn that is meant, where somebody else may have continued its thread.
    :return: whether a run was there, and each was stopped or is another's by now.
    """
    state, progress = copy(state), _Progress()  # as it is now: a stop may outlast the wait for it
    if state.client is not None:
        thread = threading.Thread(
            target=_stop_once, args=(state, state.client, digests, progress), daemon=True
        )
        thread.start()
        thread.join(KILL_TIMEOUT)
    found = progress.found or ([state.task_id] if state.task_id else [])
    done = list(progress.done)
    lines = threading.Thread(target=_tell, args=(state, found, done, progress.error, log), daemon=True)
    lines.start()
    lines.join(LOG_TIMEOUT)
    return bool(found) and {one.task.id for one in done}.issuperset(found)


def _tell(
    state: KillState, found: Iterable[str], done: Collection[Stopped], error: XpanderError | None, log: Any
) -> None:
    for one in done:
        log.info("Killed. %s", one)
    for task_id in found:
        if not any(one.task.id == task_id for one in done):
            log.error("%s", not_stopped(task_id, state.settings, error or "no answer in time"))
    if not found:
        log.warning(
            "Killed while a run was being started (%s); if there is one, its title has %s",
            error or "none is in sight",
            state.sign,
        )


def _stop_once(
    state: KillState, client: Client, digests: Collection[str] | None, progress: _Progress
) -> None:
    try:
        with client.again() as own:
            if state.task_id is not None:
                progress.found = [state.task_id]
            elif state.search is not None:
                progress.found = own.run(state.search())
            for found in progress.found:
                steps = stop_run(found, own.policy, digests=digests, newer_than=state.newer_than)
                progress.done.append(own.run(steps, timeout=KILL_TIMEOUT))
    except XpanderError as error:
        progress.error = error
