"""Stopping a run from the worker, and saying what a person has to do where that fails."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_xpander.api import routes
from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.runs.exit import not_stopped

if TYPE_CHECKING:
    from airflow_provider_xpander.hooks.xpander import XpanderHook

KILL_TIMEOUT = 3.5
"""Seconds for a stop on a kill: Airflow waits five before it ends the process."""


@dataclass
class Held:
    """
    What a kill needs to know of the attempt.

    :param settings: of the connection, as soon as they are read.
    :param target_id: the agent or workflow, for links.
    :param task_id: the remote task, as soon as it is known.
    :param sign: what the title of a run that is being started contains.
    :param killed: whether the kill has come.
    :param settled: whether the run has ended, or it was decided what becomes of it.
    """

    settings: Settings | None
    target_id: str | None = None
    task_id: str | None = None
    sign: str = ""
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
    Stop a run on a kill: one call over a client of its own, that ends in time whatever the network does.

    The log is written when the call is over, because the kill may have come in the middle of a line.

    :param held: with the id of the run.
    """
    task_id = held.task_id or ""
    came: list[Task | XpanderError] = []
    if held.settings is not None:
        thread = threading.Thread(target=_stop_once, args=(held.settings, task_id, came), daemon=True)
        thread.start()
        thread.join(KILL_TIMEOUT)
    if came and isinstance(came[0], Task):
        log.info("Killed; stopped xpander task %s (%s)", task_id, came[0].status.value)
    else:
        log.error("%s", not_stopped(task_id, held.settings, came[0] if came else "no answer in time"))


def _stop_once(settings: Settings, task_id: str, came: list[Task | XpanderError]) -> None:
    from airflow_provider_xpander.api.client import Client

    try:
        with Client(settings) as client:
            came.append(client.call(routes.stop_task(task_id), timeout=KILL_TIMEOUT))
    except XpanderError as error:
        came.append(error)
