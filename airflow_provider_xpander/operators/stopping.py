"""Stopping a run from the worker, and saying what a person has to do where that fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_xpander.api import routes
from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.api.exchange import Steps
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.runs.stop_policy import not_stopped

if TYPE_CHECKING:
    from airflow_provider_xpander.hooks.xpander import XpanderHook

KILL_TIMEOUT = 3.5
"""Seconds for a stop on a kill: Airflow waits five before it ends the process."""

LOG_TIMEOUT = 0.5
"""Seconds for the lines that say what came of it."""
KILL_LAG = (0.0, 1.0, 1.0)
"""Seconds before each look for a run that is being started at that moment."""


@dataclass
class Held:
    """
    What a kill needs to know of the attempt.

    :param settings: of the connection, as soon as they are read.
    :param target_id: the agent or workflow, for links.
    :param task_id: the remote task, as soon as it is known.
    :param sign: what the title of a run that is being started contains.
    :param search: looks for the ids of runs that are being started.
    :param killed: whether the kill has come.
    :param settled: whether the run has ended, or it was decided what becomes of it.
    """

    settings: Settings | None
    target_id: str | None = None
    task_id: str | None = None
    sign: str = ""
    search: Callable[[], Steps[list[str]]] | None = None
    killed: bool = False
    settled: bool = False


def stop_and_tell(hook: XpanderHook, log: Any, task_ids: Iterable[str]) -> list[Task]:
    """
    Stop runs, with a few tries each.

    :return: the runs as they are then; those that could not be stopped are missing, and in the log.
    """
    stopped = []
    for task_id in task_ids:
        settings = None
        try:
            settings = hook.settings
            task = hook.stop_task(task_id)
        except Exception as error:  # the connection may be gone too; the failure that led here counts more
            log.error("%s", not_stopped(task_id, settings, error))
            continue
        log.info("Stopped xpander task %s (%s)", task_id, task.status.value)
        stopped.append(task)
    return stopped


def stop_quickly(held: Held, log: Any) -> None:
    """
    Stop a run on a kill, over a client of its own, and be done in time whatever the network does.

    One call stops a run whose id is known; one that is being started is looked for first. The log is written
    from another thread: the kill may have come in the middle of a line, which holds the log's lock.

    :param held: what is known of the attempt.
    """
    came = _Came()
    if held.settings is not None:
        thread = threading.Thread(target=_stop_once, args=(held.settings, held, came), daemon=True)
        thread.start()
        thread.join(KILL_TIMEOUT)
    stopped = {task.id for task in came.stopped}
    found = came.found or ([held.task_id] if held.task_id else [])
    held.settled = bool(found) and stopped.issuperset(found)
    lines = threading.Thread(target=_tell, args=(held, came, found, log), daemon=True)
    lines.start()
    lines.join(LOG_TIMEOUT)


def _tell(held: Held, came: _Came, found: Iterable[str], log: Any) -> None:
    for task in came.stopped:
        log.info("Killed; stopped xpander task %s (%s)", task.id, task.status.value)
    stopped = {task.id for task in came.stopped}
    for task_id in found:
        if task_id not in stopped:
            log.error("%s", not_stopped(task_id, held.settings, came.error or "no answer in time"))
    if not found:
        log.warning(
            "Killed while a run was being started (%s); if there is one, its title has %s",
            came.error or "none is in sight",
            held.sign,
        )


@dataclass
class _Came:
    """What has come of a stop until the time was up."""

    found: list[str] = field(default_factory=list)
    stopped: list[Task] = field(default_factory=list)
    error: XpanderError | None = None


def _stop_once(settings: Settings, held: Held, came: _Came) -> None:
    from airflow_provider_xpander.api.client import Client

    try:
        with Client(settings) as client:
            if held.task_id is not None:
                came.found = [held.task_id]
            elif held.search is not None:
                came.found = client.run(held.search())
            for task_id in came.found:
                came.stopped.append(client.call(routes.stop_task(task_id), timeout=KILL_TIMEOUT))
    except XpanderError as error:
        came.error = error
