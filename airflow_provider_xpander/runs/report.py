"""The log of a wait: a line when the status changes; of a paused run, what it waits for and where it is."""

from __future__ import annotations

from typing import Protocol

from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.runs.links import task_link
from airflow_provider_xpander.runs.outcome import pause_reason
from airflow_provider_xpander.runs.pausing import pause_of


class Log(Protocol):
    """The part of a logger that is needed; Airflow's is not always a standard one."""

    def info(self, message: str, /, *args: object) -> object:
        """Write a line."""


class StatusReport:
    """
    Write one line whenever a task's status differs from the one before, and for each pause.

    :param log: where to.
    :param settings: those of the connection, for the link to a paused run.
    :param asked: the pause that was told already (``runs/pausing.py``).
    """

    def __init__(self, log: Log, settings: Settings | None = None, asked: str | None = None) -> None:
        self._log = log
        self._settings = settings
        self._last: TaskStatus | None = TaskStatus.PAUSED if asked else None
        self._pause = asked

    def __call__(self, task: Task) -> None:
        """Take note of an answer."""
        pause = pause_of(task)
        if task.status is self._last and pause == self._pause:
            return
        self._last, self._pause = task.status, pause
        if pause is not None:
            self._log.info("xpander task %s is paused: %s", task.id, pause_reason(task))
            if self._settings is not None:
                # A line of its own, with nothing behind it: Airflow's log viewer cuts long ones, and makes
                # a bracket part of the link.
                link = task_link(self._settings, task_id=task.id, agent_id=task.agent_id)
                self._log.info("The paused run in the console: %s", link)
        else:
            self._log.info("xpander task %s is %s", task.id, task.status.value)
